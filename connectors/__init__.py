"""Where data comes from and where results go: one connector a file."""
