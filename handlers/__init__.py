"""The doors of the server: everything that knows Tornado, HTTP or WebSocket."""
