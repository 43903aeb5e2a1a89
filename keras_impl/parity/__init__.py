"""Compare Keras and the host paths with the reference; needs Keras."""
