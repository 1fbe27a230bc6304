"""remote_state: what remote files look like from outside, as a digest; none is fetched."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
import fsspec

from pipelines.objects.transfer import transfer_errors
from pipelines.store.artifacts import digest

# What filesystems call a file's version, the surest first; one that lacks all tells the size.
_VERSION_TAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "Last-Modified", "LastModified", "mtime")


def remote_state(filesystem: fsspec.AbstractFileSystem, paths: Iterable[str]) -> str:
    """Of the sizes and version tags of some files; none is fetched.

    Raises:
        BadSampleError: no such file, or refused.
        TransientError: the server does not answer, or not for now.
    """
    return digest([_remote_mark(filesystem, path) for path in paths])


def _remote_mark(filesystem: fsspec.AbstractFileSystem, path: str) -> dict[str, str]:
    with transfer_errors(path):
        try:
            info = filesystem.info(path)
        except FileNotFoundError as error:
            # fsspec says so of every HTTP failure.
            if isinstance(error.__cause__, aiohttp.ClientError | TimeoutError):
                raise error.__cause__ from error
            raise
    tag = next((f"{name} {info[name]}" for name in _VERSION_TAGS if info.get(name)), "")
    return {"size": str(info.get("size")), "tag": tag}
