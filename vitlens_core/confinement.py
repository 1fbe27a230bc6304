"""Finds files by names that come from outside, without leaving their folder.

A name may come from a table, an archive, an index or a request. No other module joins such a name
to a folder; `tests/test_confinement.py` looks for those that do.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from vitlens_core.errors import InputError

_LONGEST_NAME = 1024  # characters; Linux itself ends at 4096 bytes


def resolve_inside(root: Path, name: str | PurePath) -> Path:
    """Return the path of `name` in `root`; it need not exist.

    Raises:
        InputError: the name is empty, absolute, too long or holds `..`, or a link on its way leads
            out of `root`.
    """
    text = str(name)
    parts = PurePath(text).parts
    if not text or "\0" in text or len(text) > _LONGEST_NAME:
        raise InputError(f"expected a file name, found {text[:80]!r} of {len(text)} characters")
    if PurePath(text).is_absolute() or ".." in parts or not parts:
        raise InputError(f"{text[:200]!r}: expected a path in the folder {root}, without `..`")
    path = root / text
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{text[:200]!r}: a link leads out of {root}; copy the file there, or name the folder "
            "that holds both"
        )
    return path


def plain_name(name: str) -> str:
    """Return a name that is one part of a path (`InputError`: it is none, as `..` or `a/b`)."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(name) > 255:
        raise InputError(f"expected the name of a file without its folder, found {name[:80]!r}")
    return name
