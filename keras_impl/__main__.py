"""Run the command `ssd` as `python -m keras_impl`."""

from keras_impl.cli import main

raise SystemExit(main())
