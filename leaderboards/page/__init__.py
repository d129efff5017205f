"""One HTML page with all of a suite's results."""
