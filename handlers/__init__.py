"""Your handlers: each module here is loaded, and declares task types with `@handler`.

The built-in handlers are declared here too, one module each: change, replace or remove them.
Modules whose name begins with an underscore are ignored.
"""
