"""Results that are committed: written, verified, shown in the README."""
