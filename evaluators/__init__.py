"""Label regimes, evaluators and measures: one file is one component, named by the file's stem."""
