"""The page over the results: what is wrong, how badly, when and why."""
