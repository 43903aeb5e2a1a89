"""SSD in readable NumPy: the truth that `keras_impl` is held to.

Reading order, each module on about two screens:

1. `layouts`, `conventions`, `presets`: the choices that make one SSD differ from another, by name,
   and what known systems chose.
2. `boxes`, `anchors`: the two forms of a box, IoU, the default boxes of a layout.
3. `matching`, `coding`, `targets`: from the objects of a picture to what to learn.
4. `losses`, `mining`, `multibox`, `gradients`: what training minimises.
5. `layers`, `mobilenet_v2`, `ssd`: from a picture to the outputs of the heads; `nms`, `detection`:
   from these to boxes, scores and labels.
6. `evaluation`: average precision. `cases`, `workloads`: what all of it is tried and timed on;
   `conflicts`: inputs on which known systems disagree.

`checks` is what all of them ask of their arguments.

docs/tour.md walks through them with arrays small enough to check by hand.

Import the module you mean, for instance `from reference_numpy import boxes`. Only
NumPy, bottleneck and the standard library are needed.
"""
