"""digests: lists the SHA-256 of every file of a model's folder, and checks them.

Reads     a folder; bytecode that Python keeps beside the code is passed over.
Writes    `digests.json` in it, whose own digest stands for the whole folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from vitlens_core import caps
from vitlens_core.errors import IntegrityError

DIGESTS_FILE = "digests.json"
_NOT_LISTED = (DIGESTS_FILE, "registered_model_meta")  # MLflow adds the latter to a copy
_SHOWN = 3


def write_digests(folder: Path) -> str:
    """Write `digests.json` for a folder, and return the digest of that file."""
    listed = json.dumps(_digests(folder), sort_keys=True, indent=1).encode()
    (folder / DIGESTS_FILE).write_bytes(listed)
    return hashlib.sha256(listed).hexdigest()


def check_digests(folder: Path, expected: str | None = None) -> str:
    """Compare every file of a folder with `digests.json`, and return the digest of that file.

    Args:
        expected: digest that `digests.json` must have.

    Raises:
        IntegrityError: a file is changed, missing or too many; the message names it.
    """
    try:
        listed = (folder / DIGESTS_FILE).read_bytes()
        stated = caps.parse_json(listed)
        if not isinstance(stated, dict):
            raise ValueError(f"expected an object, found {type(stated).__name__}")
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{folder} has no readable {DIGESTS_FILE}: {error}") from error
    own = hashlib.sha256(listed).hexdigest()
    if expected not in (None, own):
        raise IntegrityError(
            f"{folder / DIGESTS_FILE} has the digest {own[:12]}…, expected {str(expected)[:12]}…: "
            "these are not the files that were registered"
        )
    present = _digests(folder)
    differing = sorted(
        name for name in {*stated, *present} if stated.get(name) != present.get(name)
    )
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise IntegrityError(
            f"{folder}: {', '.join(differing[:_SHOWN])}{more} differ from {DIGESTS_FILE}; fetch or "
            "make the model again"
        )
    return own


def _digests(folder: Path) -> dict[str, str]:
    return {name: _digest(path) for name, path in sorted(_files(folder))}


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if "__pycache__" in path.parts or name in _NOT_LISTED:
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{path} is a link or no plain file; expected files and folders")
        if path.is_file():
            yield name, path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
