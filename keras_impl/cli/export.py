"""The command `ssd export`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_impl._common.choices import DETECTORS, SCORE
from keras_impl.cli.console import Progress, as_options, make_console
from keras_impl.cli.inputs import check_model
from keras_impl.cli.options import add_command, add_model, fraction
from keras_impl.cli.startup import need_extra, need_tensorflow, quiet_litert, start_keras
from keras_impl.cli.status import OK, UsageError
from keras_impl.detector.export_files import FORMATS, check_target, facts_file

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "export",
        _run,
        "export a detector as SavedModel, LiteRT or ONNX",
        """\
The exported network takes prepared images, RGB in [-1, 1], and returns the
outputs of its heads: deltas and logits. A JSON file next to it holds the
anchors, the convention and the class names, which decoding needs. With
--detections the graph also decodes and suppresses, with standard operations
only. The export is loaded by its own runtime and compared with Keras before it
is kept.""",
        """\
examples:
  ssd export --model oidv4 --format litert --out oidv4.tflite
  ssd export --model oidv4 --format onnx --out oidv4.onnx --detections \\
      --score 0.3 --check cat.jpg
  ssd export --weights runs/first/weights.npz --format saved_model --out saved

ONNX needs pip install "mobilenetv2-ssd[keras,export]".""",
    )
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, help="format to write")
    parser.add_argument(
        "--out",
        metavar="PATH",
        required=True,
        help="file to write (.tflite, .onnx), or folder for saved_model",
    )
    parser.add_argument(
        "--detections", action="store_true", help="boxes, scores and labels instead of head outputs"
    )
    parser.add_argument(
        "--score",
        metavar="S",
        type=fraction,
        help=f"with --detections: detections score above this, 0 to 1 ({SCORE})",
    )
    parser.add_argument("--check", metavar="IMAGE", help="compare with Keras on this image too")
    add_model(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_tensorflow()
    need_extra()
    if arguments.score is not None and not arguments.detections:
        raise UsageError(
            "--score: expected --detections too, since head outputs have no threshold. "
            f"Received: {arguments.score:g} without it"
        )
    score = SCORE if arguments.score is None else arguments.score
    name = check_model(arguments)
    from keras_impl.images.pixels import prepare
    from keras_impl.images.reading import open_image
    from keras_impl.weights.npz import load_model
    from keras_impl.weights.published import weights_file

    with as_options(form="--format", path="--out"):
        check_target(arguments.out, arguments.format)
    image = None if arguments.check is None else open_image(arguments.check)
    with Progress("starting TensorFlow") as progress:
        start_keras()
        from keras_impl.detector.exporting import export

        model = load_model(weights_file(name) if name in DETECTORS else name)
        progress.say(f"exporting to {arguments.format}")
        with quiet_litert(), as_options(form="--format", path="--out"):
            done = export(
                model,
                arguments.out,
                arguments.format,
                detections=arguments.detections,
                score=score,
                images=None if image is None else prepare(image, model.layout.image_size)[None],
            )
    console = make_console()
    close = f"its own runtime differs from Keras by at most {done.difference:.2g}"
    if done.compared is None:
        console.print(f"{done.path}: head outputs; {close}")
    else:
        console.print(
            f"{done.path}: detections above {score:g}; {close} "
            f"({done.compared} detections compared)"
        )
        if not done.compared:
            console.print("No detection was compared; --check IMAGE compares on an image of yours.")
    console.print(f"{facts_file(done.path)}: input, outputs, classes, convention")
    return OK
