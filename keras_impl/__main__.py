"""`python -m keras_impl`, the same as `ssd`."""

from keras_impl.cli import main

raise SystemExit(main())
