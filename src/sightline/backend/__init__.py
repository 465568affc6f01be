"""The backend under HTTP: models, queue and limits, in this process or in another."""
