"""Uploads: reads pictures from request bodies, checks them on arrival, limits their memory."""
