"""From numbers to tables: CSV, Markdown, LaTeX and the terminal."""
