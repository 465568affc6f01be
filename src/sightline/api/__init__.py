"""The HTTP API: async only at this edge, all work below is synchronous."""
