"""The HTTP and WebSocket door: one file per family of contracts, none of which knows an engine."""
