"""Settings -> live objects: the only composition root. `open_runtime` opens all of a service."""
