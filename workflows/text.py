"""text: shows text that others wrote on a terminal."""

from __future__ import annotations

from rich.markup import escape

from pipelines.store.text import printable, redacted


def shown(text: str) -> str:
    """Return text without secrets, control characters and markup, as `Console.print` takes it."""
    return escape(printable(redacted(text), lines=True))
