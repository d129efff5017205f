"""Evaluators, which train a student and test it: one file is one `Evaluator`."""
