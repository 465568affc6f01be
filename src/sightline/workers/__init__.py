"""Several processes: HTTP front ends, one engine process with the models, one supervisor."""
