"""From waiting pictures to boxes: lanes, decode pool, batcher, detector."""
