"""store: figures of finished artifacts, and of artifacts that are being made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from upath import UPath

from pipelines.execution.shard_tasks import ShardRecord
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import MANIFEST, Manifest

_RECORD, _ATTEMPT = ".record.json", ".attempt"
_FINISHED = {
    "artifacts": "Finished artifacts.",
    "artifact_seconds": "Time of the runs that finished them [s].",
    "artifact_samples": "Samples of finished artifacts.",
    "artifact_bytes": "Bytes of their files.",
    "artifact_quarantined": "Samples left out of them.",
}
_UNFINISHED = {
    "building_shards": "Finished shards of an unfinished artifact.",
    "building_samples": "Samples of these shards.",
    "building_bytes": "Bytes of these shards.",
    "building_quarantined": "Samples left out of these shards.",
    "building_retries": "Further attempts at shards whose worker was killed.",
}

Sums = defaultdict[str, defaultdict[tuple[str, ...], float]]  # by figure and values of labels


@dataclass
class StoreReader:
    """Reads a store again and again; a manifest or record is read once, as neither changes."""

    store: Store
    _manifests: dict[str, Manifest] = field(default_factory=dict)
    _records: dict[str, ShardRecord] = field(default_factory=dict)

    def read(self) -> list[GaugeMetricFamily]:
        """Return the figures of the store's present content.

        Raises:
            OSError: the store cannot be read.
        """
        if not isinstance(self.store.root, Path):
            self.store.root.fs.invalidate_cache()  # s3fs would list what it listed before
        if not self.store.root.exists():
            return [*self._finished([]), *self._unfinished([])]
        folders = self.store.folders()
        finished = {f for f in folders if (f / MANIFEST).exists()}
        known = {str(folder) for folder in finished}
        self._manifests = {k: v for k, v in self._manifests.items() if k in known}
        return [
            *self._finished(sorted(finished, key=str)),
            *self._unfinished([f for f in folders if f not in finished]),
        ]

    def _finished(self, folders: Iterable[UPath]) -> list[GaugeMetricFamily]:
        sums = _no_sums()
        for folder in folders:
            manifest = self._manifest(folder)
            by_name = {
                "artifacts": 1,
                "artifact_seconds": manifest.seconds,
                "artifact_samples": manifest.counts.get("samples", 0),
                "artifact_bytes": sum(file.size_bytes for file in manifest.files),
                "artifact_quarantined": manifest.quarantined,
            }
            for name, value in by_name.items():
                sums[name][(manifest.step,)] += value
        return _families(_FINISHED, sums, ("step",))

    def _unfinished(self, folders: Iterable[UPath]) -> list[GaugeMetricFamily]:
        sums = _no_sums()
        for folder in folders:
            labels = (folder.parent.name, folder.name)
            for name in _UNFINISHED:
                sums[name][labels] += 0  # shown before the first shard
            for path in folder.iterdir():
                if path.name.endswith(_RECORD):
                    for name, value in _of_record(self._record(path)).items():
                        sums[name][labels] += value
                elif path.name.endswith(_ATTEMPT):
                    sums["building_retries"][labels] += _further_attempts(path)
        return _families(_UNFINISHED, sums, ("step", "artifact"))

    def _manifest(self, folder: UPath) -> Manifest:
        key = str(folder)
        if key not in self._manifests:
            self._manifests[key] = Manifest.model_validate_json((folder / MANIFEST).read_text())
        return self._manifests[key]

    def _record(self, path: UPath) -> ShardRecord:
        key = str(path)
        if key not in self._records:
            self._records[key] = ShardRecord.model_validate_json(path.read_text())
        return self._records[key]


def _of_record(record: ShardRecord) -> dict[str, int]:
    return {
        "building_shards": 1,
        "building_samples": record.samples,
        "building_bytes": record.file.size_bytes,
        "building_quarantined": len(record.quarantined),
    }


def _further_attempts(path: UPath) -> int:
    """Return how often a shard was begun again; its file of attempts may be gone meanwhile."""
    try:
        return max(0, len(path.read_text().split()) - 1)  # a line each
    except FileNotFoundError:
        return 0


def _no_sums() -> Sums:
    return defaultdict(lambda: defaultdict(float))


def _families(
    described: Mapping[str, str], sums: Sums, labels: tuple[str, ...]
) -> list[GaugeMetricFamily]:
    families = []
    for name, text in described.items():
        family = GaugeMetricFamily(f"vitlens_{name}", text, labels=labels)
        for values, total in sorted(sums[name].items()):
            family.add_metric(list(values), total)
        families.append(family)
    return families
