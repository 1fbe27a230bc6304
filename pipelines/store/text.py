"""text: makes text that others wrote fit for logs, terminals and tags."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_USER = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@'\"]*@")
_QUERY = re.compile(
    r"(?i)(?P<name>[?&;](?:[\w.-]*(?:token|secret|password|passwd|signature|credential|key|sig))=)"
    r"[^&\s'\"#]+"
)
_SHOWN_LINES = ("\n", "\t")


def redacted(text: str) -> str:
    """Replace the user and password of every URL, and secrets in its query, by `***`."""
    return _QUERY.sub(r"\g<name>***", _USER.sub(r"\g<scheme>***@", text))


def redacted_values(value: Any) -> Any:
    """Return JSON with `redacted` strings."""
    if isinstance(value, dict):
        return {name: redacted_values(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted_values(each) for each in value]
    return redacted(value) if isinstance(value, str) else value


def printable(text: str, *, lines: bool = False) -> str:
    """Replace what could steer a terminal or reorder text by `�`: control and format characters.

    Args:
        lines: whether line ends and tabs stay.
    """
    kept = _SHOWN_LINES if lines else ()
    return "".join(
        c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else "�"
        for c in text
    )
