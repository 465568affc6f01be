"""Work that a client polls for: queued on disk, done in turn, kept for a while."""
