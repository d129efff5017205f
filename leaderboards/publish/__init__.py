"""From results to publications: committed records, their checks, the results in the README."""
