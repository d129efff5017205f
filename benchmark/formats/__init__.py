"""Distilled sets in and out of other people's formats."""
