"""Statistics of a block of rows, from numbers alone: variance, intervals, corrected comparisons, verdicts, power."""
