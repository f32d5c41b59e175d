"""The old place of the diagram of the states, until version 0.3."""

from raytasks.moved import moved

__getattr__ = moved(__name__, {"mermaid": "raytasks.model.states"})
