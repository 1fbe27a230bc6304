"""remote_state: a digest of remote files' sizes and version tags; none is fetched."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
import fsspec

from pipelines.objects.transfer import transfer_errors
from pipelines.store.artifacts import digest

# Names that filesystems give a file's version, the most reliable first. Without any of them only
# the size tells versions apart.
_VERSION_TAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "Last-Modified", "LastModified", "mtime")


def remote_state(filesystem: fsspec.AbstractFileSystem, paths: Iterable[str]) -> str:
    """Return a digest of the sizes and version tags of files, without fetching them.

    Raises:
        BadSampleError: there is no such file, or access is refused.
        TransientError: the server does not answer at present.
    """
    return digest([_remote_mark(filesystem, path) for path in paths])


def _remote_mark(filesystem: fsspec.AbstractFileSystem, path: str) -> dict[str, str]:
    with transfer_errors(path):
        try:
            info = filesystem.info(path)
        except FileNotFoundError as error:
            # fsspec raises FileNotFoundError for every HTTP failure, also for a timeout.
            if isinstance(error.__cause__, aiohttp.ClientError | TimeoutError):
                raise error.__cause__ from error
            raise
    tag = next((f"{name} {info[name]}" for name in _VERSION_TAGS if info.get(name)), "")
    return {"size": str(info.get("size")), "tag": tag}
