"""Measurements at the listener's end."""
