"""Exit statuses, and the error for a mistake of the user."""

from __future__ import annotations

OK, DISAGREES, MISTAKE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """A mistake in the command; the message says what was expected."""
