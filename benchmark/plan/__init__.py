"""From suite files to cells, and from cells to nodes with keys."""
