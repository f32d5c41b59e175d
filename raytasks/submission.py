"""The old module of `raytasks.InvalidSubmission`, until version 0.3."""

from raytasks.moved import moved

__getattr__ = moved(__name__, {"InvalidSubmission": "raytasks"})
