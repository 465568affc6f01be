"""Background tasks: their queue in the database, workers, results and callbacks."""
