"""From numbers to plots, and pictures of distilled sets."""
