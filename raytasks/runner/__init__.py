"""Runners: the processes that claim attempts from the tracker and run them."""
