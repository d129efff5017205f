"""From records to tables, plots and pages, without torch."""
