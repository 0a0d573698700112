"""Text to PCM: blocking generators of small steps, one engine a file, heavy imports inside."""
