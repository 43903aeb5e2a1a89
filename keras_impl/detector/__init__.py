"""Detect objects in images, and export detectors to other runtimes."""
