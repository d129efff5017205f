"""From records to numbers and verdicts."""
