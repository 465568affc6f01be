"""From request bodies to pictures: checked while they arrive, within a budget."""
