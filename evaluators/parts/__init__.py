"""Building blocks that several label regimes, evaluators and measures share."""
