"""Run the command `ssd`, also as `python -m keras_impl`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process; return the exit status."""
    try:
        from keras_impl.cli import main as run
    except KeyboardInterrupt:  # The imports take a moment, in which Ctrl-C is quiet too.
        sys.stderr.write("\nssd: interrupted\n")
        return 130
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
