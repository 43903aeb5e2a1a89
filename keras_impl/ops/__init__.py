"""The mathematics of `reference_numpy` in `keras.ops`, batched, in files of the same names."""
