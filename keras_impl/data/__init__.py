"""Data sets, input pipelines and sample images."""
