"""Images: open, turn, prepare, draw."""
