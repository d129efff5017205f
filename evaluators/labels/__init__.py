"""Label regimes: one file each."""
