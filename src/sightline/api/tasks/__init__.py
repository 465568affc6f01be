"""Tasks over HTTP: submitting, following, their JSON, events and annotated pictures."""
