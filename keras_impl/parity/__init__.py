"""Our own implementations held to the reference; needs Keras."""
