"""keys: the names of samples, which name files in tars."""

from __future__ import annotations

import re
from hashlib import sha256

# A key names files in tars, whose names end at 100 bytes: `<key>.teacher_<name>_targets.npy`.
LONGEST_KEY = 64
_DIGEST = 16
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")


def is_key(text: str) -> bool:
    """Whether a text is a valid key: ASCII letters, digits, `-` and `_`, up to `LONGEST_KEY`."""
    return 0 < len(text) <= LONGEST_KEY and not _NOT_IN_KEYS.search(text)


def plain_key(name: str) -> str:
    """Replace every run of invalid characters by `-`.

    Names in other scripts would all become `-`: a digest of the name keeps them apart. Of a name
    that is too long, a digest stands for the end.
    """
    plain = _NOT_IN_KEYS.sub("-", name)
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    if not name.isascii():
        plain = f"{plain}-{digest[:8]}"
    if len(plain) <= LONGEST_KEY:
        return plain
    return own_key(plain, name)


def own_key(plain: str, name: str) -> str:
    """Return a key that no other name has, though its plain key may be that of others."""
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain[: LONGEST_KEY - _DIGEST - 1]}-{digest[:_DIGEST]}"
