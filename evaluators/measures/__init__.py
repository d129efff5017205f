"""Measures of a distilled set, which train no student: one file is one `Measure`."""
