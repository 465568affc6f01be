"""Where tasks are kept: a database for what is known of them, and blobs for their pictures."""
