"""The chat screen, and those that come over it."""
