"""The tracker: the one process that owns the state and writes SQL."""
