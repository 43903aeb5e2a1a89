"""Data sets for training and evaluation; the one place where tf.data is used."""
