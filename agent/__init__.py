"""The node: its process, its settings, and the doors through which people and programs reach it."""
