"""Helpers that several packages share: files, HTML, charts, timing, names of options."""
