"""choices: the message for a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, found: str, valid: Iterable[str]) -> str:
    """Close matches first, then all there are."""
    choices = list(valid)
    near = get_close_matches(found, choices)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown {kind} {found!r}; {hint}there are: {', '.join(choices) or 'none'}"
