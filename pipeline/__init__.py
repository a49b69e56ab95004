"""The way from an event to its prediction. Knows nothing of Tornado, HTTP or WebSocket."""
