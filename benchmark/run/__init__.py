"""Running nodes: stages, runners, campaigns, tuning, the store and the facts in a record."""
