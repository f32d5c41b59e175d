"""Measures raytasks beside other task queues: `python -m benchmarks.peers`.

Each peer has a folder with its application and its pinned requirements, and gets an environment
of its own there. The file `benchmarks/README.md` says how each is set, and why.
"""
