"""SSD on MobileNetV2 in Keras: the names of `reference_numpy`, batched, for real work.

The mirrored modules (`boxes`, `anchors`, `matching`, `coding`, `targets`, `losses`,
`multibox`, `nms`, `detection`) are written in `keras.ops`; `mobilenet_v2` and `ssd` are the
network; `training`, `evaluation`, `prediction`, `parity`, `demo` and `report` are what the
command `ssd` is made of.

Importing this package imports neither Keras nor TensorFlow: `ssd --help` stays quick, and
works where the extra `mobilenetv2-ssd[keras]` is not installed.
"""
