"""The built-in handlers: text, summaries, batches and images.

Each module declares one task type. Modules whose name begins with an underscore are helpers.
Settings come from the environment and are read when a handler runs, not when it is imported.
"""
