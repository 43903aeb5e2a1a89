"""Leaves that several rooms use: files, HTML, choices."""
