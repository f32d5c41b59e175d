"""The view of an operator on the service: its log."""
