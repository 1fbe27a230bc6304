"""Artifacts: what determines a fingerprint, when one exists, and what damage is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from upath import UPath

from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact, Quarantined, digest, load
from pipelines.store.files import write_atomic
from pipelines.store.shards import write_shard
from vitlens_core.errors import IntegrityError


class Config(BaseModel):
    size_px: int = 64
    angles_deg: tuple[float, ...] = (60.0, 90.0)


Place = Callable[[], UPath]


@pytest.fixture(params=["folder", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A local folder, and fsspec's in-memory file system standing for s3://."""
    if request.param == "folder":
        return Store(UPath(tmp_path / "artifacts"))
    return Store(UPath(f"memory://{tmp_path}/artifacts"))


def _made(store: Store, step: str = "shards", **overrides: Any) -> Artifact:
    given: dict[str, Any] = {"version": 1, "config": Config(), "inputs": {}} | overrides
    build = store.begin(step, **given)
    entries = [write_atomic(build.folder / "notes.json", b"made by hand")]
    for name in ("train-00000", "train-00001", "test-00000"):
        entry, _ = write_shard(build.folder / f"{name}.tar", [{"__key__": name, "txt": b"text"}])
        entries.append(entry)
    reason = Quarantined(key="x", step=step, reason="odd")
    return build.commit(entries, {"samples": 3}, [reason])


def test_an_artifact_exists_once_its_manifest_does(store: Store) -> None:
    build = store.begin("shards", 1, Config(), {})
    write_atomic(build.folder / "train-00000.tar", b"half")
    assert build.existing is None
    assert store.artifacts() == []
    made = _made(store)
    found = store.begin("shards", 1, Config(), {}).existing
    assert found is not None
    assert (found.reused, made.reused) == (True, False)
    assert found.manifest == made.manifest
    assert [a.fingerprint for a in store.artifacts()] == [made.fingerprint]


def test_a_manifest_says_what_was_made_of_what(store: Store) -> None:
    renders = _made(store, "renders")
    manifest = _made(store, inputs={"renders": renders}).manifest
    assert (manifest.step, manifest.version, manifest.counts) == ("shards", 1, {"samples": 3})
    assert manifest.config == {"size_px": 64, "angles_deg": [60.0, 90.0]}
    assert manifest.inputs == {"renders": renders.fingerprint}
    assert manifest.quarantined == 1
    assert [f.name for f in manifest.files] == sorted(f.name for f in manifest.files)


def test_quarantined_samples_lie_beside_the_manifest_which_has_their_number(store: Store) -> None:
    reasons = [
        Quarantined(key=f"{number}", step="renders", reason="two\nlines, ü")
        for number in range(1000)
    ]
    made = store.begin("renders", 1, Config(), {}).commit([], {"samples": 0}, reasons)
    assert made.manifest.quarantined == 1000
    assert made.path("manifest.json").stat().st_size < 1_000
    assert load(made.folder).quarantined() == reasons
    assert _made(store).quarantined() == [Quarantined(key="x", step="shards", reason="odd")]
    assert not store.begin("shards", 2, Config(), {}).commit([], {}).quarantined()
    made.path("quarantine.jsonl").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"quarantine\.jsonl: 0 bytes"):
        made.quarantined()


def test_what_is_computed_decides_the_fingerprint(tmp_path: Path) -> None:
    store = Store(UPath(tmp_path))
    renders = _made(store, "renders")
    others = _made(store, "renders", config=Config(size_px=32))
    variants: list[dict[str, Any]] = [
        {},
        {"step": "targets"},
        {"version": 2},
        {"config": Config(size_px=65)},
        {"inputs": {"renders": renders}},
        {"inputs": {"renders": others}},
        {"content": "another selection"},
    ]
    fingerprints = set()
    for variant in variants:
        given: dict[str, Any] = {"step": "shards", "version": 1, "config": Config(), "inputs": {}}
        fingerprints.add(store.begin(**(given | variant)).fingerprint)
    assert len(fingerprints) == len(variants)


def test_where_it_is_computed_does_not(tmp_path: Path) -> None:
    first, second = (Store(UPath(tmp_path / name)) for name in ("here", "there"))
    assert _made(first).fingerprint == _made(second).fingerprint
    settings = Config().model_dump(mode="json")
    assert first.begin("shards", 1, settings, {}).fingerprint == _made(second).fingerprint


def test_shards_are_listed_by_split(store: Store) -> None:
    made = _made(store)
    assert [p.name for p in made.shards("train")] == ["train-00000.tar", "train-00001.tar"]
    assert [p.name for p in made.shards("val")] == []
    assert len(made.shards()) == 3


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"text", b"next")),
            "10,240 bytes",
        ),
        (lambda path: path.write_bytes(b"train"), "5 bytes"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_damage_is_named(store: Store, damage: Callable[[UPath], None], found: str) -> None:
    made = _made(store)
    made.verify()
    damage(made.path("train-00000.tar"))
    stated = rf"train-00000\.tar: {found}.*manifest states 10,240 bytes"
    with pytest.raises(IntegrityError, match=stated):
        made.verify()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("00000000 train-00000\n"),
        lambda path: path.write_text(""),
        lambda path: path.unlink(),
    ],
)
def test_checksums_that_no_longer_fit_a_whole_tar_are_named(
    store: Store, damage: Callable[[UPath], None]
) -> None:
    made = _made(store)
    damage(made.path("train-00000.sums"))
    with pytest.raises(IntegrityError, match=r"train-00000.*its checksums are damaged"):
        made.verify()


WRITE = """
import sys, time
from pathlib import Path
from pipelines.store.files import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_killed_writers_left_is_swept_up(tmp_path: Path) -> None:
    store = Store(UPath(tmp_path))
    folder = _made(store).folder
    (folder / "manifest.json").unlink()
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(folder / "train-00000.tar")], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.kill()
    assert list(folder.glob(".train-00000.tar.*.tmp"))
    assert not [p for p in _made(store).folder.iterdir() if p.name.startswith(".")]


@given(value=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))
    assert digest(value) == digest(json.loads(json.dumps(value)))
    assert digest({**value, "another key": 1}) != digest(value)
