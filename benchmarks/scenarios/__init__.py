"""Scenarios, one module each: a function that measures, and returns numbers."""
