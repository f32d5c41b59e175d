"""Measures raytasks beside what a user would pick instead: `python -m benchmarks`.

`README.md` beside this file says what is measured, and how.
"""
