"""What the URIs of a glTF document stand for: embedded data, or files in the object's own folder.

Promises: no file is opened unless the caller passes `FilesBeside`, and then none outside its
folder.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, unquote_to_bytes

from vitlens_core.errors import BadSampleError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Files(Protocol):
    """A source of the files that a document names by relative URI."""

    def read(self, uri: str) -> bytes:
        """Return the bytes of the file. Raises BadSampleError."""
        ...


class FilesBeside:
    """The files in the folder of one .gltf file, at most `max_mb` of them together."""

    def __init__(self, folder: Path, max_mb: int = 512) -> None:
        self._folder = folder.resolve()
        self._left = self._limit = max_mb * 2**20

    def read(self, uri: str) -> bytes:
        """Return the bytes of the file at a relative URI, which may lie in a folder below.

        Raises:
            BadSampleError: the URI leads outside the folder, also through a link, the file is
                missing, or it is too large.
        """
        path = self._inside(uri)
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise BadSampleError(f"no file {uri[:60]!r} beside the glTF; copy it there")
            if size > self._left:
                raise BadSampleError(
                    f"files beside the glTF of more than {self._limit / 2**20:.0f} MB"
                )
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BadSampleError(f"no file {uri[:60]!r} beside the glTF: {reason}") from None
        self._left -= len(content)
        return content

    def _inside(self, uri: str) -> Path:
        # Exporters on Windows write their own separator.
        relative = unquote(uri).replace("\\", "/")
        outside = BadSampleError(f"{uri[:60]!r} points outside the folder of the glTF")
        if not relative or "\0" in relative or ".." in relative.split("/"):
            raise outside
        if relative.startswith("/") or _SCHEME.match(relative):
            raise outside
        try:
            path = (self._folder / relative).resolve()
        except (OSError, RuntimeError):  # a path too long, or links in a circle
            raise outside from None
        if not path.is_relative_to(self._folder):
            raise outside
        return path


def read_uri(uri: str, owner: str, files: Files | None) -> bytes:
    """Return what a URI of `owner` stands for.

    Raises:
        BadSampleError: a broken data URI, or a file that may not or cannot be read.
    """
    if uri[:5].lower() == "data:":
        return _embedded(uri, owner)
    if files is None:
        raise BadSampleError(
            f"{owner} points outside the file ({uri[:60]!r}); embed it in the GLB, or keep it in "
            "the .gltf file's own folder"
        )
    return files.read(uri)


def _embedded(uri: str, owner: str) -> bytes:
    """Decode a data URI (RFC 2397) of any media type."""
    header, comma, payload = uri.partition(",")
    if not comma:
        raise BadSampleError(f"{owner}: data URI without data")
    content = unquote_to_bytes(payload)
    if not header.lower().endswith(";base64"):
        return content
    try:
        # Some writers leave the padding out.
        return base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadSampleError(f"{owner}: broken base64 in a data URI") from None
