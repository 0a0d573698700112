"""The plugin's version: that of the node it comes with."""

__version__ = "0.1.0"
