"""The laboratory: the named runs that made the shipped weights, and the studies of what each part is worth."""
