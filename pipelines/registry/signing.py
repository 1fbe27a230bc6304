"""signing: signs what a home states of a version, and checks who stated it.

Reads     the home's Ed25519 key `keys/signing.key`, or the file that VITLENS_SIGNING_KEY names;
          VITLENS_TRUSTED_KEYS, a file with one public key per line.
Writes    the home's key when it is first needed, for this user only.
Promises  a statement is trusted if this home made it, or the holder of a listed key.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipelines.store.artifacts import digest
from pipelines.store.files import private_once
from vitlens_core.errors import ConfigError

KEY, TRUSTED = "VITLENS_SIGNING_KEY", "VITLENS_TRUSTED_KEYS"
_KEY = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"ed25519:([0-9a-f]{64}):([0-9a-f]{128})")


def sign(home: Path, statement: object) -> str:
    """Sign a statement (any JSON) with the key of a home (`ConfigError`: the key is unusable)."""
    key = _own(home)
    return f"ed25519:{_public(key)}:{key.sign(_bytes(statement)).hex()}"


def distrust(home: Path, signature: str, statement: object) -> str:
    """Say why a signature is no reason to trust a statement; empty if it is.

    Raises:
        ConfigError: a key or the list of trusted keys is unusable.
    """
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        return "it is not signed"
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(match[1]))
        key.verify(bytes.fromhex(match[2]), _bytes(statement))
    except (InvalidSignature, ValueError):
        return "its signature does not fit"
    if match[1] not in {public_key(home), *trusted()}:
        return f"it is signed by {match[1][:16]}…, who is neither this home nor in {TRUSTED}"
    return ""


def public_key(home: Path) -> str:
    """Return the public key of a home, hexadecimal; others list it to trust this home."""
    return _public(_own(home))


def trusted() -> list[str]:
    """Return the public keys that VITLENS_TRUSTED_KEYS lists; none if it is not set."""
    file = os.environ.get(TRUSTED)
    if file is None:
        return []
    try:
        lines = [line.partition("#")[0].strip() for line in Path(file).read_text().splitlines()]
    except OSError as error:
        raise ConfigError(f"{TRUSTED}={file} cannot be read: {error.strerror}") from error
    if bad := [line for line in lines if line and not _KEY.fullmatch(line)]:
        raise ConfigError(
            f"{TRUSTED}={file}: {bad[0][:20]!r} is no public key; expected one per line, of 64 "
            "hexadecimal digits, as `vitlens key` prints"
        )
    return [line for line in lines if line]


def _own(home: Path) -> Ed25519PrivateKey:
    named = os.environ.get(KEY)
    path = Path(named) if named else home / "keys" / "signing.key"
    try:
        text = path.read_text() if named else private_once(path, lambda: os.urandom(32).hex())
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"the signing key {path} cannot be read: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"others can read the signing key {path}: chmod 600 it")
    if not _KEY.fullmatch(text.strip()):
        raise ConfigError(f"{path} is no signing key: expected 64 hexadecimal digits")
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip()))


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def _bytes(statement: object) -> bytes:
    return f"vitlens {digest(statement)}".encode()
