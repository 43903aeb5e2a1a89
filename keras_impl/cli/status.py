"""Exit statuses, and the mistake of a user."""

from __future__ import annotations

OK, DISAGREES, MISTAKE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The user's; the message says what to do."""
