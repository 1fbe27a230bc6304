"""The objects step against a mirror over HTTP that throttles, fails, truncates, stalls and lies."""

from __future__ import annotations

import hashlib
import json
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from upath import UPath

from pipelines.execution.runtime import Runtime
from pipelines.objects import job as objects
from pipelines.objects.mirror import open_mirror
from pipelines.objects.step import ObjectsConfig
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import read_shard
from tests.pipelines.misbehaving_server import (
    QUICK,
    Server,
    dropped,
    fails,
    goes_down,
    other_size,
    serving,
    stalled,
    truncated,
)
from tests.pipelines.quiet import quiet_runtime
from tests.pipelines.small_mirror import write_json
from vitlens_core.errors import TransientError

ON_RAY = [pytest.mark.slow, pytest.mark.xdist_group("local_ray")]
UIDS = [f"object{number:02d}" for number in range(24)]
PASSING = {
    "object00.glb": [fails(429, retry_after="1")],
    "object01.glb": [fails(429)] * 2,
    "object02.glb": [fails(500), fails(503)],
    "object03.glb": [truncated] * 2,
    "object04.glb": [stalled],
    "object05.glb": [other_size] * 2,
    "object06.glb": [dropped, stalled],
    "metadata/000-000.json.gz": [fails(500), truncated],
}
LASTING = {
    "object07.glb": (fails(500), r"HTTP 500 .*\(given up after attempt 3\)"),
    "object08.glb": (other_size, "17 bytes, the mirror's annotation says"),
    "object09.glb": (stalled, "given up after attempt 3"),
    "object10.glb": (fails(404), "no such file"),
    "object11.glb": (truncated, r"received \d+ of \d+ bytes.*\(given up after attempt 3\)"),
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def fetch(runtime: Runtime, config: ObjectsConfig) -> Artifact:
    """Run the step without waiting for a broken server."""
    return objects.run(runtime, config, policy=QUICK)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A mirror of 24 objects, each of other bytes and another size."""
    root = tmp_path / "site"
    layout = root / "hf-objaverse-v1"
    (layout / "glbs" / "000-000").mkdir(parents=True)
    annotations = {}
    for number, uid in enumerate(UIDS):
        data = random.Random(uid).randbytes(5_000 + 997 * number)
        (layout / "glbs" / "000-000" / f"{uid}.glb").write_bytes(data)
        annotations[uid] = {"name": uid, "license": "by", "archives": {"glb": {"size": len(data)}}}
    write_json(layout / "object-paths.json.gz", {u: f"glbs/000-000/{u}.glb" for u in UIDS})
    write_json(layout / "lvis-annotations.json.gz", {"chair": UIDS[::2], "lamp": UIDS[1::2]})
    write_json(layout / "metadata" / "000-000.json.gz", annotations)
    return root


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    with serving(site) as server:
        server.faults = {suffix: list(faults) for suffix, faults in PASSING.items()}
        server.faults |= {suffix: [fault] * 99 for suffix, (fault, _) in LASTING.items()}
        yield server


def _assert_the_rest_is_complete(made: Artifact, site: Path) -> None:
    made.verify()
    found = {}
    for path in made.shards():
        for sample in read_shard(path):
            found[sample["__key__"]] = hashlib.sha256(sample["glb"]).hexdigest()
            assert json.loads(sample["json"])["sha256"] == found[sample["__key__"]]
    folder = site / "hf-objaverse-v1" / "glbs" / "000-000"
    assert found == {
        uid: hashlib.sha256((folder / f"{uid}.glb").read_bytes()).hexdigest()
        for uid in UIDS
        if f"{uid}.glb" not in LASTING
    }


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=ON_RAY)])
def test_every_object_but_those_broken_for_ever_is_complete(
    server: Server,
    site: Path,
    tmp_path: Path,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if workers:
        request.getfixturevalue("local_ray")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    runtime = quiet_runtime(tmp_path, render_workers=workers)
    config = ObjectsConfig(mirror=server.url, objects_per_shard=4)
    made = fetch(runtime, config)
    _assert_the_rest_is_complete(made, site)

    quarantined = {f"{q.key}.glb": q.reason for q in made.quarantined()}
    assert quarantined.keys() == LASTING.keys()
    for name, (_, reason) in LASTING.items():
        assert re.search(reason, quarantined[name])

    names = {path.name.split(".", 1)[1] for path in made.folder.iterdir()}
    assert names == {"tar", "sums", "record.json", "json", "jsonl"}
    assert list(scratch.iterdir()) == []
    asked = len(server.requests)
    again = fetch(runtime, config)
    assert again.reused
    assert again.fingerprint == made.fingerprint
    assert len(server.requests) == asked


@pytest.mark.parametrize("status", [503, 403])
def test_a_mirror_that_goes_down_ends_the_job_which_goes_on_later(
    site: Path, tmp_path: Path, status: int
) -> None:
    """Down or shut: what it refuses then is no fault of the object it was asked for."""
    with serving(site) as server:
        config = ObjectsConfig(mirror=server.url, objects_per_shard=4)
        undisturbed = fetch(quiet_runtime(tmp_path / "other", render_workers=0), config)
        in_turn = _fetched(server)

        server.faults = {in_turn[9]: [goes_down(status)]}
        runtime = quiet_runtime(tmp_path, render_workers=0)
        with pytest.raises(TransientError, match=r"no longer answers.*run again"):
            fetch(runtime, config)
        server.refuses_all = None
        server.requests.clear()
        made = fetch(runtime, config)
        again = _fetched(server)

    assert made.manifest.files == undisturbed.manifest.files
    assert made.quarantined() == []
    assert in_turn[9] in again
    assert again == in_turn[-len(again) :]
    assert len(in_turn) - 9 <= len(again) < len(in_turn) - 9 + 4


def _fetched(server: Server) -> list[str]:
    return [path for path in server.requests if path.endswith(".glb")]


def test_objects_that_fail_in_a_row_are_not_quarantined_one_by_one(
    site: Path, tmp_path: Path
) -> None:
    with serving(site) as server:
        server.faults = {".glb": [fails(500)] * 999}
        config = ObjectsConfig(mirror=server.url, objects_per_shard=4)
        with pytest.raises(TransientError, match=r"8 objects in a row did not arrive.*HTTP 500"):
            fetch(quiet_runtime(tmp_path, render_workers=0), config)


def test_objects_of_other_sizes_in_a_row_say_how_to_take_them(site: Path, tmp_path: Path) -> None:
    """A mirror whose files were packed anew, or one that answers with a page of its own."""
    folder = site / "hf-objaverse-v1" / "glbs" / "000-000"
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes() + b"more")
    runtime = quiet_runtime(tmp_path, render_workers=0)
    config = ObjectsConfig(mirror=str(site), objects_per_shard=4)
    with pytest.raises(TransientError, match=r"annotation says.*objects\.check_size=false"):
        fetch(runtime, config)
    made = fetch(runtime, config.model_copy(update={"check_size": False}))
    assert made.manifest.counts["samples"] == len(UIDS)


def test_a_mirror_may_lack_many_objects_but_not_itself(site: Path, tmp_path: Path) -> None:
    for path in sorted((site / "hf-objaverse-v1" / "glbs" / "000-000").iterdir())[::2]:
        path.unlink()
    for uid in UIDS[1:18:2]:
        (site / "hf-objaverse-v1" / "glbs" / "000-000" / f"{uid}.glb").unlink()
    config = ObjectsConfig(mirror=str(site), objects_per_shard=24)
    made = fetch(quiet_runtime(tmp_path / "some", render_workers=0), config)
    assert (made.manifest.counts["samples"], len(made.quarantined())) == (3, 21)

    mirror = open_mirror(str(site))
    items = [{**vars(record), "split": "train"} for record in mirror.records()]
    objects.write_plans(UPath(tmp_path), [("train-00000", items)])
    site.rename(tmp_path / "unmounted")
    processor = objects.ObjectFetcher({"": mirror}, config, UPath(tmp_path))
    with pytest.raises(TransientError, match=r"no longer answers.*no such file"):
        list(processor.samples(objects.ShardTask("train-00000")))
