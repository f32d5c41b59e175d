"""The Serve application of a checkout: `serve run serve_app:app`. See `raytasks.serve_app`."""

from raytasks.serve_app import app

__all__ = ["app"]
