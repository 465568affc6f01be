"""What HTTP stands on: models, queue, limits and tasks, in this process or in another."""
