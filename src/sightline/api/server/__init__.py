"""One connection: HTTP/1.1 and WebSocket, with limits on time and size, and shutdown."""
