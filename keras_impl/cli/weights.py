"""The command `ssd weights`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keras_impl.cli.console import Progress, make_console
from keras_impl.cli.inputs import absent
from keras_impl.cli.options import add_command
from keras_impl.cli.startup import LITERT, need_extra, quiet_litert
from keras_impl.cli.status import OK, UsageError

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "weights",
        _run,
        "fetch the weights of a published detector",
        """\
oidv4 is MediaPipe's SSD MobileNetV2 (Apache-2.0): images of 300 x 300 pixels,
23 classes of Open Images. The file is accepted only if its SHA-256 is the known
one. Keras' cache (~/.keras/models, or models/ in KERAS_HOME) then holds it, and
the same weights as a weights file of this program.""",
        """\
examples:
  ssd weights oidv4
  ssd weights oidv4 --file object_detection_ssd_mobilenetv2_oidv4_fp16.tflite

The same file is in a package of npm, if you can reach only npm:
  npm pack @mediapipe/objectron@0.4.1675468480
  tar -xzf mediapipe-objectron-0.4.1675468480.tgz
  tail -c +185 package/objectron_solution_packed_assets.data |
      head -c 9987728 > oidv4.tflite
  ssd weights oidv4 --file oidv4.tflite""",
    )
    parser.add_argument("name", metavar="NAME", choices=("oidv4",), help="oidv4")
    parser.add_argument("--file", metavar="FILE", help="use this copy instead of a download")


def _run(arguments: argparse.Namespace) -> int:
    need_extra("rich", LITERT)
    if arguments.file is not None and not Path(arguments.file).is_file():
        raise UsageError(
            f"--file: expected a file. Received: {arguments.file}, {absent(arguments.file)}"
        )
    from keras_impl.weights.installing import install
    from keras_impl.weights.published import OIDV4

    with Progress(f"fetching {arguments.name}, bytes", OIDV4.size) as progress:
        try:
            with quiet_litert():
                written = install(OIDV4, arguments.file, progress.advance)
        except ConnectionError as error:
            raise UsageError(f"{error}; `ssd weights --help` shows another source") from None
    console = make_console()
    console.print(f"source: {OIDV4.url}", soft_wrap=True)
    console.print(f"size: {OIDV4.size:,} bytes")
    console.print(f"SHA-256: {OIDV4.sha256}")
    console.print(f"licence: {OIDV4.licence}")
    console.print(f"weights: {written}", soft_wrap=True)
    console.print(f"classes: {', '.join(OIDV4.class_names)}")
    return OK
