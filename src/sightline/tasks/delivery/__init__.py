"""Callbacks: stored when a task ends, and sent until the receiver accepts them."""
