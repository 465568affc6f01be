"""Outgoing connections: fetching pictures and models by address, and webhooks."""
