"""Measures raytasks beside other task queues: `python -m benchmarks.peers`.

Each peer has a folder with its application and its pinned requirements, and gets an environment
of its own there. `README.md` beside this file says how each is set, and why.
"""
