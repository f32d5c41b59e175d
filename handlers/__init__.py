"""Your handlers: each module here is loaded, and declares task types with `@handler`.

The built-in ones are declared here too, a module each: change, replace or remove them as you like.
Modules whose name begins with an underscore are passed over.
"""
