"""Weights: .npz files, published files, LiteRT import."""
