"""Text becomes speech in time: pure cores that are told the time, and few thin shells."""
