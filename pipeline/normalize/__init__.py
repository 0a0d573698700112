"""What is read aloud for a sentence as it is written, with a way back to the written characters."""

from pipeline.normalize.speakable import is_speakable

__all__ = ["is_speakable"]
