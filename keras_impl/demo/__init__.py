"""The demo behind `ssd demo`, and its report."""
