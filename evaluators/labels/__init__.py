"""Label regimes: one file is one `LabelRegime`."""
