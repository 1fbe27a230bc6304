"""job: selects, splits and fetches objects; `step` declares what is read and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from pipelines.execution.bulk import commit_shards, write_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, record_name
from pipelines.objects.captions import Captions
from pipelines.objects.opening import AnyMirror, open_mirrors
from pipelines.objects.records import ObjectRecord, RecordTable
from pipelines.objects.selection import Selected, select
from pipelines.objects.step import STEP, ObjectsConfig
from pipelines.objects.transfer import FetchPolicy, WrongSizeError
from pipelines.store.artifact_store import PLAN, Build
from pipelines.store.artifacts import Artifact, Quarantined, digest_of_list
from pipelines.store.files import names_in, write_atomic
from pipelines.store.pieces import Piece
from pipelines.store.requests import side_by_side
from pipelines.store.shards import Sample, encode_json
from pipelines.store.splits import SPLITS, cut_into_shards
from vitlens_core.errors import BadSampleError, TransientError
from vitlens_core.scratch import Scratch

# After this many failures in a row the mirror is at fault, not each object by itself.
FAILURES_IN_A_ROW = 8

# Where a mirror lies, and limits, do not change what is made of an object that is read.
_NOT_IDENTITY = {
    "mirror": True,
    "read_s": True,
    "read_mb": True,
    "more": {"__all__": {"mirror"}},
    "captions": {"__all__": {"path"}},
    "names_dropped": True,  # what is dropped shows in the objects' names
}

_GO_ON = "run again when the mirror is available: finished shards are kept"


def run(
    runtime: Runtime,
    config: ObjectsConfig,
    piece: Piece | None = None,
    policy: FetchPolicy | None = None,
) -> Artifact:
    """Select, split and fetch.

    Args:
        piece: fetch only its shards; the artifact stays unfinished, and a part is returned.
        policy: retries and timeouts for a remote mirror.

    Raises:
        ConfigError: no such mirror, unknown classes or licences, or nothing selected.
    """
    mirrors = open_mirrors(config, runtime.home.mirrors, policy)
    with RecordTable(_records(mirrors, config)) as records:
        selected = select(records, config)
        # The identity is the mirrors' content; their addresses do not enter the fingerprint.
        captions = Captions(config, selected.uids)
        items = _items(selected, records, captions)
        identities = (mirrors[str(item["mirror"])].identity(item) for item in items)
        shared = [{name: mirror.others()} for name, mirror in mirrors.items()]
        content = digest_of_list(chain(identities, shared))
        settings = config.model_dump(mode="json", exclude=_NOT_IDENTITY)
        build = STEP.begin(runtime, settings, {}, content, part=piece is not None)
        if build.existing:
            return build.existing
        listed = partial(_items, selected, records, captions)
        sizes = records.column("size_bytes").fill_null(0).to_numpy()[selected.rows]
        tasks = _planned(build, selected, sizes, listed, config, piece)
    fetcher = partial(ObjectFetcher, mirrors, config, build.folder)
    records_of_shards = write_shards(runtime, build, tasks, fetcher)
    refused = [
        Quarantined(key=uid, step=STEP.name, reason=reason)
        for mirror in mirrors.values()
        for uid, reason in mirror.quarantined().items()
    ]
    return commit_shards(build, records_of_shards, refused)


def _records(mirrors: Mapping[str, AnyMirror], config: ObjectsConfig) -> Iterator[ObjectRecord]:
    labelled_only = config.labelled_only and config.uids is None
    for name, mirror in mirrors.items():
        for record in mirror.records(config.uids, labelled_only=labelled_only):
            yield replace(record, mirror=name) if name else record


def _planned(
    build: Build,
    selected: Selected,
    sizes: np.ndarray,
    listed: Callable[[np.ndarray], Iterator[dict[str, object]]],
    config: ObjectsConfig,
    piece: Piece | None,
) -> list[ShardTask]:
    """Write a plan with the objects of each shard, and return the tasks."""
    splits = (SPLITS[side] for side in selected.sides)
    most_bytes = config.mb_per_shard * 10**6
    cut = cut_into_shards(splits, selected.uids, config.objects_per_shard, sizes, most_bytes)
    shards = list(cut)
    mine = piece.of(shards) if piece else shards
    present = names_in(build.folder)
    pending = (shard for shard in mine if record_name(shard[0]) not in present)
    write_plans(build.folder, ((name, listed(members)) for name, members in pending))
    return [ShardTask(name) for name, _ in mine]


def write_plans(folder: UPath, plans: Iterable[tuple[str, Iterable[Mapping[str, object]]]]) -> None:
    """Write plans of shards, several at a time; there are never all of them in memory.

    Args:
        plans: each shard's name and its objects: the fields of a record, and a split.
    """

    def write(plan: tuple[str, bytes]) -> None:
        name, lines = plan
        write_atomic(folder / f"{name}{PLAN}", lines)

    for _ in side_by_side(write, ((name, _lines(items)) for name, items in plans)):
        pass


def _lines(items: Iterable[Mapping[str, object]]) -> bytes:
    return b"".join(encode_json(item) + b"\n" for item in items)


def _items(
    selected: Selected,
    records: RecordTable,
    captions: Captions,
    members: np.ndarray | None = None,
) -> Iterator[dict[str, object]]:
    chosen = np.arange(len(selected)) if members is None else np.asarray(members)
    rows = records.rows(selected.rows[chosen].tolist())
    for row, side in zip(rows, selected.sides[chosen], strict=True):
        yield captions.added({**row, "split": SPLITS[side]})


class ObjectFetcher:
    """Fetches the objects of a shard from their mirrors; the shard's plan in `plans` lists them."""

    def __init__(
        self, mirrors: Mapping[str, AnyMirror], config: ObjectsConfig, plans: UPath
    ) -> None:
        self.mirrors = mirrors
        self.check_size = config.check_size
        self.plans = plans
        self.failures_in_a_row = 0  # objects that did not arrive, or with another size

    def close(self) -> None:
        """End the children that read objects."""
        for mirror in self.mirrors.values():
            mirror.close()

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        plan = (self.plans / f"{task.name}{PLAN}").read_bytes()
        with Scratch("objects") as folder:
            for line in plan.splitlines():
                yield self._fetch(json.loads(line), Path(folder))

    def _fetch(self, item: dict[str, Any], folder: Path) -> Sample | Quarantined:
        fields = {name: value for name, value in item.items() if name != "split"}
        record = ObjectRecord(**fields)
        if not self.check_size:
            record = replace(record, size_bytes=None)
        mirror = self.mirrors[record.mirror]
        try:
            fetched = mirror.fetch(record, folder)
        except (BadSampleError, TransientError) as error:
            self._require(mirror, error)
            return Quarantined(key=record.uid, step=STEP.name, reason=str(error))
        self.failures_in_a_row = 0
        data = fetched.path.read_bytes()
        fetched.path.unlink()
        described = encode_json({**item, "sha256": fetched.sha256})
        return {"__key__": record.uid, "glb": data, "json": described}

    def _require(self, mirror: AnyMirror, failure: BadSampleError | TransientError) -> None:
        """Raise `TransientError` if a failure is the mirror's, not the object's.

        Quarantining would otherwise lose every further object.
        """
        try:
            mirror.require_answer()
        except TransientError as error:
            raise TransientError(f"the mirror no longer answers: {error}; {_GO_ON}") from error
        if isinstance(failure, BadSampleError) and not isinstance(failure, WrongSizeError):
            self.failures_in_a_row = 0  # a mirror that works may lack many objects
            return
        self.failures_in_a_row += 1
        if self.failures_in_a_row == FAILURES_IN_A_ROW:
            raise TransientError(
                f"{FAILURES_IN_A_ROW} objects in a row did not arrive whole, last {failure}; "
                f"{_GO_ON}. If the sizes of its files differ from their annotations, set "
                "objects.check_size=false"
            ) from failure
