"""`ssd export`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_impl._common.choices import DETECTORS, SCORE
from keras_impl.cli.console import Progress, as_options
from keras_impl.cli.inputs import check_model
from keras_impl.cli.options import add_command, add_model, fraction
from keras_impl.cli.startup import need_extra, need_tensorflow, quiet_litert, start_keras
from keras_impl.cli.status import OK
from keras_impl.detector.export_files import FORMATS, check_target, facts_file

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "export",
        _run,
        "write a detector for SavedModel, LiteRT or ONNX",
        """\
The network takes prepared images, RGB in [-1, 1], and gives what its heads say: deltas and
logits. A JSON file beside it holds what decoding takes: the anchors, the convention, the names of
the classes. With --detections decoding and suppression are part of the graph, of plain operations
only. What was written is loaded by its own runtime and compared with Keras before it counts.""",
        """\
examples:
  ssd export --model oidv4 --format litert --out oidv4.tflite
  ssd export --model oidv4 --format onnx --out oidv4.onnx --detections --score 0.3 --check cat.jpg
  ssd export --weights runs/first/weights.npz --format saved_model --out saved

ONNX needs pip install "mobilenetv2-ssd[keras,export]".""",
    )
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, help="what to write")
    parser.add_argument(
        "--out", metavar="PATH", required=True, help="file (.tflite, .onnx) or folder to write"
    )
    parser.add_argument(
        "--detections", action="store_true", help="boxes, scores and labels instead of raw heads"
    )
    parser.add_argument(
        "--score",
        metavar="S",
        type=fraction,
        default=SCORE,
        help="least confidence with --detections, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--check", metavar="PHOTO", help="compare with Keras on this photograph too"
    )
    add_model(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_tensorflow()
    need_extra()
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
                score=arguments.score,
                images=None if image is None else prepare(image, model.layout.image_size)[None],
            )
    close = f"at most {done.difference:.2g} from Keras"
    if done.compared is None:
        print(f"{done.path}: raw heads; read back by its own runtime, {close}")
    else:
        print(
            f"{done.path}: detections above {arguments.score:g}; read back by its own runtime, "
            f"{done.compared} compared, {close}"
        )
        if not done.compared:
            print("there was nothing to detect in what was tried: --check PHOTO tries one of yours")
    print(f"{facts_file(done.path)}: input, outputs, classes, convention")
    return OK
