"""The mirrored mathematics in `keras.ops`, in files named as in `reference_numpy`."""
