"""Examples: handlers and driver scripts."""
