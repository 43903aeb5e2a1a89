"""Fast paths on the CPU, in NumPy, without Keras."""
