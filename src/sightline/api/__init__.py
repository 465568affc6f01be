"""The HTTP API: async at this edge only; all work below is synchronous."""
