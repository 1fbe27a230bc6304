"""choices: the message for a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_MOST_SHOWN = 40


def unknown(kind: str, found: str, valid: Iterable[str], near: Sequence[str] = ()) -> str:
    """Close matches first, or those that are known to be `near`; then what there is."""
    choices = list(valid)
    near = near or get_close_matches(found, choices)
    near = near or get_close_matches(found.lower().replace(" ", "_"), choices)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    shown = ", ".join(choices[:_MOST_SHOWN]) or "none"
    more = f", and {len(choices) - _MOST_SHOWN} more" if len(choices) > _MOST_SHOWN else ""
    return f"unknown {kind} {found!r}; {hint}there are: {shown}{more}"
