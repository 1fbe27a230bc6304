"""folder: a mirror that is a folder of objects in any common format.

Reads     the folder's names; objects one at a time, in a child process without rights.
Promises  an object is handed on as GLB with y up, in metres; one that cannot be read is a
          `BadSampleError` with its name; no path leads outside the folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from pipelines.objects.facts import Facts, FactTable
from pipelines.objects.fetched import FetchedObject, size_of_file
from pipelines.objects.kicad import list_kicad
from pipelines.objects.layouts import (
    Found,
    Listing,
    list_3d_future,
    list_abo,
    list_folder,
    list_shapenet,
)
from pipelines.objects.objaverse_xl import list_objaverse_xl
from pipelines.objects.records import ObjectRecord
from pipelines.objects.step import MirrorSettings
from pipelines.store.artifacts import digest_of_list
from pipelines.store.files import file_entry
from pipelines.store.folder_state import folder_state
from vitlens_core import caps
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import BadSampleError, ConfigError, InputError, TransientError
from vitlens_core.readers.object_reader import ObjectReader
from vitlens_core.readers.placing import Placing
from vitlens_core.sandbox import Limits

_STEP_ENDINGS = (".step", ".stp")
_LISTS = {
    "shapenet": list_shapenet,
    "abo": list_abo,
    "3d-future": list_3d_future,
    "kicad": list_kicad,
    "objaverse-xl": list_objaverse_xl,
}


@dataclass
class FolderMirror:
    """An opened folder. Its listing stays in the process that lists; workers open objects."""

    root: Path
    settings: MirrorSettings
    limits: Limits
    _readers: dict[bool, ObjectReader] = field(default_factory=dict, repr=False)

    is_local = True

    def __getstate__(self) -> dict[str, object]:
        # What workers need: neither the listing, which may be large, nor children.
        own = {"root": self.root, "settings": self.settings, "limits": self.limits}
        return {**own, "_readers": {}}

    @cached_property
    def listing(self) -> Listing:
        if self.settings.layout in _LISTS:
            return _LISTS[self.settings.layout](self.root)
        return list_folder(self.root, folder_classes=self.settings.folder_classes)

    def state(self) -> str:
        """Return a digest of the folder's present state (`TransientError`: it cannot be read)."""
        return folder_state(self.root)

    def require_answer(self) -> None:
        """Raise `TransientError` unless the folder is still there."""
        if not self.root.is_dir():
            raise TransientError(f"{self.root}: no such folder any more")

    def records(
        self, uids: Collection[str] | None = None, *, labelled_only: bool = False
    ) -> Iterator[ObjectRecord]:
        """Yield every object of the folder, or the `uids` it has, in the order of their paths.

        Args:
            labelled_only: leave out objects without a class.
        """
        table = self._table()
        wanted = None if uids is None else frozenset(uids)
        for found in self.listing.objects:
            record = self._record(found, table)
            if wanted is not None and record.uid not in wanted:
                continue
            if record.label is not None or not labelled_only:
                yield record
        if table is not None:
            table.check_used(len(self.listing.objects))

    def quarantined(self) -> dict[str, str]:
        """Return uid → reason for the objects in formats that are not read."""
        return {f"{self.settings.prefix}{uid}": r for uid, r in self.listing.refused.items()}

    def identity(self, item: Mapping[str, object]) -> dict[str, object]:
        """Return an object as it enters the fingerprint, with its file's present size."""
        return {**item, "bytes_found": size_of_file(f"{self.root}/{item['path']}")}

    def others(self) -> str:
        """Return a digest of what its objects share: names and sizes of materials and textures."""
        return digest_of_list(list(self.listing.beside))

    def fetch(self, record: ObjectRecord, destination_dir: Path) -> FetchedObject:
        """Write an object to `destination_dir/<uid>.glb`.

        Raises:
            BadSampleError: no such file, damaged, too slow or too large, outside the folder, or
                another file than the data set's.
            ConfigError: a library that its format needs is not installed.
        """
        try:
            place = resolve_inside(self.root, record.path)
            if not place.is_file():  # a pipe would block
                raise BadSampleError(f"{record.path}: no such file in the folder")
            caps.check_size(place, caps.OBJECT_BYTES, "an object")
            self._check_digest(place, record)
            home = resolve_inside(self.root, record.home or PurePosixPath(record.path).parent)
            glb = self._reader(place).read(place, home)
        except InputError as error:
            raise BadSampleError(str(error).replace(f"{self.root}/", "")) from error
        except BadSampleError as error:
            raise BadSampleError(f"{record.path}: {error}") from error
        destination = resolve_inside(destination_dir, f"{record.uid}.glb")
        destination.write_bytes(glb)
        entry = file_entry(destination)
        return FetchedObject(destination, entry.size_bytes, entry.sha256)

    def close(self) -> None:
        """End the children that read."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _check_digest(self, place: Path, record: ObjectRecord) -> None:
        """Raise `BadSampleError` if the data set names its objects by another digest."""
        if self.settings.layout != "objaverse-xl":
            return
        expected, found = record.uid.removeprefix(self.settings.prefix), file_entry(place).sha256
        if found != expected:
            raise BadSampleError(
                f"its sha256 is {found}, the annotations state {expected}; download it again"
            )

    def _reader(self, place: Path) -> ObjectReader:
        # OpenCASCADE writes files: only STEP gets a child that may.
        writes = place.suffix.lower() in _STEP_ENDINGS
        if writes not in self._readers:
            placing = Placing(self.settings.up, self.settings.unit_m)
            self._readers[writes] = ObjectReader(self.root, placing, self.limits, scratch=writes)
        return self._readers[writes]

    def _table(self) -> FactTable | None:
        if self.settings.table is None:
            return None
        try:
            return FactTable(resolve_inside(self.root, self.settings.table))
        except InputError as error:
            raise ConfigError(f"objects.table: {error}") from error

    def _record(self, found: Found, table: FactTable | None) -> ObjectRecord:
        facts = table.of(found) if table else Facts()
        # A table with labels states them all: a folder's name says nothing then.
        label = facts.label if table and table.states_labels else facts.label or found.label
        return ObjectRecord(
            uid=f"{self.settings.prefix}{found.uid}",
            path=found.path,
            label=label,
            name=facts.name or found.name or PurePosixPath(found.path).stem,
            tags=facts.tags or found.tags,
            captions=facts.captions or found.captions,
            licence=facts.licence or self.settings.licence or found.licence,
            creator=facts.creator,
            home=found.home,
        )
