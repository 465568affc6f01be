"""Tasks over HTTP: submission, status, JSON, events and annotated pictures."""
