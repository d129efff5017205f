"""What happens: stages, runners, the store and what is recorded."""
