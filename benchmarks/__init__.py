"""Speed and memory, each measured beside its alternative in the same run. ``make bench`` prints the table."""
