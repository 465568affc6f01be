"""Storage: the task database (SQLite or PostgreSQL) and the blobs of pictures."""
