"""mirror: lists the objects of a mirror of Objaverse, reads their annotations, fetches GLB files.

Reads     a folder or any fsspec URL in Objaverse's layout:
          hf-objaverse-v1/{object-paths,lvis-annotations}.json.gz, metadata/NNN-NNN.json.gz,
          glbs/NNN-NNN/<uid>.glb.
Writes    fetched GLBs in a folder that the caller names; the annotation files of a remote mirror
          in a cache folder, once per version of its two main ones.
Promises  a file appears whole, checked and under its final name, or not at all; no path leads
          outside the mirror; memory holds some 40 bytes per object, and one metadata part.
"""

import hashlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import aiohttp
import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipelines.objects.annotations import labels, metadata, object_paths
from pipelines.objects.fetched import FetchedObject, size_of_file
from pipelines.objects.records import ObjectRecord
from pipelines.objects.redirects import open_client
from pipelines.objects.remote_state import remote_state
from pipelines.objects.transfer import FetchPolicy, UnreachableError, fetch, has_size
from pipelines.store.files import file_entry
from pipelines.store.folder_state import folder_state
from pipelines.store.home import Home
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import BadSampleError, ConfigError, InputError, TransientError

logger = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parents[1] / "data" / "mini-objaverse"
# Where the `objaverse` package downloads from; the package has no constant for it.
HUB_URL = "https://huggingface.co/datasets/allenai/objaverse/resolve/main"
LAYOUT_FOLDER = "hf-objaverse-v1"
OBJECT_PATHS = "object-paths.json.gz"
LVIS_ANNOTATIONS = "lvis-annotations.json.gz"
# A uid names files downstream, so it may only have characters that cannot form a path.
_OBJECT_PATH = re.compile(r"glbs/[\w-]+/(?P<uid>[\w-]{1,64})\.glb", re.ASCII)


def open_mirror(
    url: str, cache_dir: Path | None = None, policy: FetchPolicy | None = None
) -> "Mirror":
    """Open the mirror at `url` after checking its two main annotation files.

    Args:
        url: `embedded` (the shipped objects), `objaverse` (the published data set), or a folder
            or fsspec URL: the layout folder `hf-objaverse-v1` itself or the one that holds it.
        cache_dir: where annotation files of remote mirrors are stored;
            by default in this process's home.
        policy: retries and timeouts for a remote mirror.

    Raises:
        ConfigError: there is no mirror, or it has another layout.
        TransientError: the server answers but does not deliver at present.
    """
    policy = policy or FetchPolicy()
    filesystem, base = _filesystem(url, policy)
    failures = []
    for root in (f"{base}/{LAYOUT_FOLDER}", base):
        # Two attempts: a wrong address must show within seconds.
        impatient = replace(policy, attempts=2)
        try:
            annotations_dir = _annotations_dir(filesystem, root, cache_dir)
            probe = Mirror(root, filesystem, annotations_dir, impatient)
            for name in (OBJECT_PATHS, LVIS_ANNOTATIONS):
                probe.require_annotations(name)
        except BadSampleError as error:
            failures.append(str(error))
        except TransientError as error:
            if isinstance(error, UnreachableError) or isinstance(error.__cause__, UnreachableError):
                raise ConfigError(_no_mirror(url, [str(error)])) from error
            raise
        else:
            return replace(probe, policy=policy)
    raise ConfigError(_no_mirror(url, failures))


def is_remote(url: str) -> bool:
    """Whether a mirror is remote, judged by its address alone."""
    filesystem, _ = _filesystem(url, FetchPolicy())
    return not isinstance(filesystem, LocalFileSystem)


@dataclass(frozen=True)
class Mirror:
    """An opened mirror. It holds no annotations, so it is cheap to send to workers."""

    root: str  # the layout folder, as its filesystem names it
    filesystem: fsspec.AbstractFileSystem
    annotations_dir: Path  # the layout folder itself, or the cache of a remote mirror
    policy: FetchPolicy = field(default_factory=FetchPolicy)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, LocalFileSystem)

    def state(self) -> str:
        """Return a digest of the mirror's present state (`TransientError`: it cannot be read).

        For a remote mirror it covers the two main annotation files; a change of the metadata
        alone is not noticed.
        """
        if self.is_local:
            return folder_state(Path(self.root))
        try:
            return _remote_state(self.filesystem, self.root)
        except BadSampleError as error:
            raise TransientError(str(error)) from error

    def require_answer(self) -> None:
        """Raise `TransientError` unless the mirror still delivers."""
        if not self.is_local:
            self.policy.retrying()(self.state)
            return
        try:
            self.require_annotations(OBJECT_PATHS)
        except BadSampleError as error:
            raise TransientError(str(error)) from error

    def labels(self) -> dict[str, str]:
        """Return the LVIS class of every labelled object, by uid."""
        return labels(self._annotations(LVIS_ANNOTATIONS))

    def records(
        self, uids: Collection[str] | None = None, *, labelled_only: bool = False
    ) -> Iterator[ObjectRecord]:
        """Yield every object of the mirror, or the `uids` it has, in the order of their paths.

        Reads (and, if remote, fetches) only the metadata parts of these objects, one at a time.
        Objects that `quarantined` lists are left out.

        Args:
            labelled_only: leave out objects without an LVIS class.
        """
        labels = self.labels()
        wanted = None if uids is None else frozenset(uids)
        # Uids by part, a line each: 33 bytes per object, where a list of strings takes over 80.
        parts: dict[str, bytearray] = {}
        for uid, path in self._object_paths():
            if (wanted is None or uid in wanted) and _is_safe(uid, path):
                if labelled_only and uid not in labels:
                    continue
                parts.setdefault(path.split("/")[1], bytearray()).extend(f"{uid}\n".encode())
        for part in sorted(parts, key=lambda part: f"{part}/"):
            yield from self._records_of(part, parts.pop(part).decode().splitlines(), labels)

    def listed(self) -> Iterator[ObjectRecord]:
        """Yield every object with its path and class alone: only the two main files are read."""
        labels = self.labels()
        for uid, path in self._object_paths():
            if _is_safe(uid, path):
                yield ObjectRecord(uid, path, labels.get(uid))

    def quarantined(self) -> dict[str, str]:
        """Return uid → reason for the objects whose path is not inside the mirror's layout."""
        unsafe = (item for item in self._object_paths() if not _is_safe(*item))
        return {uid: _unsafe(path) for uid, path in sorted(unsafe)}

    def fetch(self, record: ObjectRecord, destination_dir: Path) -> FetchedObject:
        """Copy the GLB of `record` to `destination_dir/<uid>.glb`.

        An existing file is kept if it has the size that the mirror annotates. The file is not
        synced to disk, since callers read it and delete it at once.

        Raises:
            BadSampleError: not in the mirror, outside it, or of the wrong size.
            TransientError: all retries failed.
        """
        if not _is_safe(record.uid, record.path):
            raise BadSampleError(_unsafe(record.path))
        self._check_local(record.path)
        destination = resolve_inside(destination_dir, f"{record.uid}.glb")
        if not has_size(destination, record.size_bytes):
            self._download(record.path, destination, record.size_bytes, durable=False)
        entry = file_entry(destination)
        return FetchedObject(destination, entry.size_bytes, entry.sha256)

    def identity(self, item: Mapping[str, object]) -> dict[str, object]:
        """Return an object as it enters the fingerprint; a local one with its present size."""
        if not self.is_local:
            return dict(item)
        return {**item, "bytes_found": size_of_file(f"{self.root}/{item['path']}")}

    def others(self) -> str:
        """Return a digest of what its objects share: nothing, since a GLB holds all of its own."""
        return ""

    def close(self) -> None:
        """Nothing stays open."""

    def require_annotations(self, name: str) -> None:
        """Make sure that annotation file `name` is in `annotations_dir`; fetch it if it is not.

        Raises:
            BadSampleError: the mirror has no such file.
            TransientError: all retries failed.
        """
        local = resolve_inside(self.annotations_dir, name)
        if local.is_file():
            return
        if self.is_local:
            raise BadSampleError(f"{local}: no such file")
        self._download(name, local, None)

    def _annotations(self, name: str) -> Path:
        """Return the path of annotation file `name`; errors as `require_annotations`."""
        self.require_annotations(name)
        return resolve_inside(self.annotations_dir, name)

    def _object_paths(self) -> Iterator[tuple[str, str]]:
        return object_paths(self._annotations(OBJECT_PATHS))

    def _records_of(
        self, part: str, uids: list[str], labels: Mapping[str, str]
    ) -> Iterator[ObjectRecord]:
        """Yield the objects of one metadata part, without metadata if the part is missing."""
        annotations: dict[str, object] = {}
        try:
            annotations = metadata(self._annotations(f"metadata/{part}.json.gz"), uids)
        except BadSampleError as error:
            logger.warning("%s; its %d objects have no metadata", error, len(uids))
        for path, uid in sorted((f"glbs/{part}/{uid}.glb", uid) for uid in uids):
            yield _record(uid, path, labels.get(uid), annotations.get(uid))

    def _check_local(self, path: str) -> None:
        if not self.is_local:
            return
        try:
            target = resolve_inside(Path(self.root), path)
        except InputError as error:
            raise BadSampleError(f"{path}: the link leads outside the mirror") from error
        if not target.is_file():  # a pipe would block the copy, and a folder raise other errors
            raise BadSampleError(f"{path}: no such file in the mirror")

    def _download(
        self, path: str, destination: Path, size_bytes: int | None, *, durable: bool = True
    ) -> None:
        source = f"{self.root}/{path}"
        policy = replace(self.policy, attempts=1) if self.is_local else self.policy
        fetch(self.filesystem, source, destination, size_bytes, policy, durable=durable)


# --- annotations ---------------------------------------------------------------------------


def _record(uid: str, path: str, label: str | None, annotation: object) -> ObjectRecord:
    name, creator, licence, size_bytes = (
        _entry(annotation, *keys)
        for keys in (("name",), ("user", "displayName"), ("license",), ("archives", "glb", "size"))
    )
    return ObjectRecord(
        uid=uid,
        path=path,
        label=label,
        name=name if isinstance(name, str) else "",
        tags=_names(_entry(annotation, "tags")),
        categories=_names(_entry(annotation, "categories")),
        licence=licence if isinstance(licence, str) else None,
        creator=creator if isinstance(creator, str) else None,
        size_bytes=size_bytes if isinstance(size_bytes, int) else None,
    )


def _entry(annotation: object, *keys: str) -> object:
    """Return the value under nested `keys`, or None if one is missing."""
    for key in keys:
        annotation = annotation.get(key) if isinstance(annotation, dict) else None
    return annotation


def _names(entries: object) -> tuple[str, ...]:
    names = [_entry(entry, "name") for entry in entries] if isinstance(entries, list) else []
    return tuple(name for name in names if isinstance(name, str))


def _is_safe(uid: str, path: str) -> bool:
    match = _OBJECT_PATH.fullmatch(path)
    return match is not None and match["uid"] == uid


def _unsafe(path: str) -> str:
    return f"path {path!r} is not of the form glbs/NNN-NNN/<uid>.glb inside the mirror"


# --- places --------------------------------------------------------------------------------


def _filesystem(url: str, policy: FetchPolicy) -> tuple[fsspec.AbstractFileSystem, str]:
    address = {"embedded": str(EMBEDDED), "objaverse": HUB_URL}.get(url, url).rstrip("/")
    options: dict[str, object] = {}
    if address.startswith(("http://", "https://")):
        timeout = aiohttp.ClientTimeout(
            total=policy.attempt_timeout_s,
            sock_connect=policy.connect_timeout_s,
            sock_read=policy.stall_timeout_s,
        )
        # Files must arrive as stored: a .json.gz decompressed on the way has another size.
        headers = {"Accept-Encoding": "identity"}
        client = {"timeout": timeout, "headers": headers, "auto_decompress": False}
        options = {
            "client_kwargs": {**client, "trust_env": True},
            "get_client": partial(open_client, origin=address),
        }
    try:
        return url_to_fs(address, **options)
    except (ValueError, ImportError) as error:
        raise ConfigError(_no_mirror(url, [str(error)])) from error


def _annotations_dir(
    filesystem: fsspec.AbstractFileSystem, root: str, cache_dir: Path | None
) -> Path:
    if isinstance(filesystem, LocalFileSystem):
        return Path(root)
    place = hashlib.sha256(filesystem.unstrip_protocol(root).encode()).hexdigest()[:16]
    cache = (cache_dir or Home.from_environment().mirrors) / place
    try:
        return cache / _remote_state(filesystem, root)[:16]
    except UnreachableError as error:
        # A compute node without a network uses what another machine fetched into the same home.
        cached = sorted(cache.glob("*"), key=lambda folder: folder.stat().st_mtime)
        if not cached:
            raise
        logger.warning("%s; using its annotations as last fetched", error)
        return cached[-1]


def _remote_state(filesystem: fsspec.AbstractFileSystem, root: str) -> str:
    return remote_state(filesystem, [f"{root}/{name}" for name in (OBJECT_PATHS, LVIS_ANNOTATIONS)])


def _no_mirror(url: str, findings: list[str]) -> str:
    return (
        f"no Objaverse mirror at {url!r} ({'; '.join(findings)}). Valid: 'embedded' (the shipped "
        f"objects), 'objaverse' (the published data set), a folder or URL that holds "
        f"{LAYOUT_FOLDER}/ with {OBJECT_PATHS}, {LVIS_ANNOTATIONS}, metadata/ and glbs/, or a "
        "folder of objects in any common format"
    )
