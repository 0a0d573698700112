"""Sessions over WebSocket: four dialects, each a pure core, and one connection that serves all of them."""
