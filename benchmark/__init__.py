"""A benchmark suite for dataset distillation: every method under one interface, one protocol and one leaderboard."""

__version__ = "0.1.0"
