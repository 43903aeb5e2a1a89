"""`ssd weights`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keras_impl.cli.console import Progress
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
oidv4 is MediaPipe's SSD MobileNetV2 (Apache-2.0): 300 x 300 pixels, 23 things of Open Images. The
file is kept in Keras' cache (~/.keras/models, or below KERAS_HOME), as it is and as a weights file
of this program. It is taken only if its SHA-256 is the known one.""",
        """\
examples:
  ssd weights oidv4
  ssd weights oidv4 --file object_detection_ssd_mobilenetv2_oidv4_fp16.tflite

where only npm can be reached, the same file lies in one of its packages:
  npm pack @mediapipe/objectron@0.4.1675468480
  tar -xzf mediapipe-objectron-0.4.1675468480.tgz
  tail -c +185 package/objectron_solution_packed_assets.data | head -c 9987728 > oidv4.tflite
  ssd weights oidv4 --file oidv4.tflite""",
    )
    parser.add_argument("name", metavar="NAME", choices=("oidv4",), help="oidv4")
    parser.add_argument("--file", metavar="FILE", help="a copy of the file, instead of a download")


def _run(arguments: argparse.Namespace) -> int:
    need_extra("rich", LITERT)
    if arguments.file is not None and not Path(arguments.file).is_file():
        raise UsageError(f"--file: expected a file. Received: {arguments.file}")
    from keras_impl.weights.installing import install
    from keras_impl.weights.published import OIDV4

    with Progress(f"bytes of {arguments.name}", OIDV4.size) as progress:
        try:
            with quiet_litert():
                written = install(OIDV4, arguments.file, progress.advance)
        except ConnectionError as error:
            raise UsageError(f"{error}; `ssd weights --help` tells another way to it") from None
    print(f"{arguments.name}: {OIDV4.size:,} bytes, SHA-256 {OIDV4.sha256}")
    print(f"licence: {OIDV4.licence}; from {OIDV4.url}")
    print(f"weights: {written}")
    print(f"labels: {', '.join(OIDV4.class_names)}")
    return OK
