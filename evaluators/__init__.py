"""Label regimes, evaluators and scores: one file each; the file's stem is its name."""
