"""Training a detector: recipe, run, curves."""
