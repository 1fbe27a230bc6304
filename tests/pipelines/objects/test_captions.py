"""Tables of captions: read in every published form, weighted, and never trained on if held out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.execution.runtime import Runtime
from pipelines.objects import job as objects
from pipelines.objects.captions import Captions
from pipelines.objects.opening import state_of_mirrors
from pipelines.objects.step import CaptionTable, ObjectsConfig
from pipelines.renders import job as renders
from pipelines.renders.step import RendersConfig
from pipelines.shards import job as shards
from pipelines.shards.sample import SampleInfo
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import read_shard
from pipelines.store.splits import pack
from tests.pipelines import mesh_files
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.point_cloud import PointCloudSignal

UIDS = ("a1", "b2")
ITEM = {"uid": "a1", "name": "a chair"}


def _added(item: dict[str, Any], **tables: Any) -> dict[str, float]:
    """The texts that tables add to an object, with their weights."""
    config = ObjectsConfig.model_validate({"captions": tables})
    found = Captions(config, pack(UIDS)).added(item)
    return dict(zip(found["texts"], found["text_weights"], strict=True))


def test_cap3ds_csv_has_no_line_of_names(tmp_path: Path) -> None:
    path = tmp_path / "Cap3D_automated_Objaverse.csv"
    path.write_text('a1,"A chair, with arms."\nzz,Something else\nb2,A lamp.\n')
    table = {"path": str(path), "names": ["uid", "caption"]}
    assert _added(ITEM, cap3d=table) == {"A chair, with arms.": 1.0}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"a1": "one text", "b2": ["x y"]}),
        ("a.json", {"a1": ["one text", None, "nan", ""], "zz": "x"}),
        ("a.json", {"a1": {"blip2": "one text"}, "b2": {"blip2": "x"}}),
        ("a.json", [{"uid": "a1", "caption": "one text"}, {"uid": "zz", "caption": "x"}]),
    ],
)
def test_json_of_any_form(tmp_path: Path, name: str, content: Any) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(content))
    assert _added(ITEM, ulip={"path": str(path)}) == {"one text": 1.0}


def test_parquet_with_lists_and_several_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"id": "a1", "views": ["from above", "from below"], "title": "a seat", "score": "9"}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    table = {"path": str(path), "key": "id", "texts": ["views", "title"]}
    assert set(_added(ITEM, mine=table)) == {"from above", "from below", "a seat"}
    with pytest.raises(ConfigError, match=r"row 2: no column 'viws'"):
        _added(ITEM, mine={**table, "texts": ["viws"]})


def test_a_tables_weight_is_that_of_its_texts_together(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a1": ["one", "two"]}))
    (tmp_path / "b.json").write_text(json.dumps({"a1": ["two", "three words here"]}))
    first = {"path": str(tmp_path / "a.json"), "weight": 3}
    second = {"path": str(tmp_path / "b.json"), "weight": 1}
    found = _added(ITEM, first=first, second=second)
    assert found == {"one": 1.5, "two": 2.0, "three words here": 0.5}
    assert _added(ITEM, second={**second, "fewest_words": 2}) == {"three words here": 1.0}
    assert _added(ITEM, first={**first, "most": 1}) == {"one": 3.0}


def test_a_table_of_other_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"zz": "one"}))
    with pytest.raises(ConfigError, match=r"objects.captions.mine.*no text of any of the 2"):
        _added(ITEM, mine={"path": str(tmp_path / "a.json")})


def test_names_that_say_nothing_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "gpt4_filtering.json"
    path.write_text(json.dumps({"a1": {"flag": "N"}, "b2": {"flag": "Y"}}))
    captions = Captions(ObjectsConfig(names_dropped=str(path)), pack(UIDS))
    assert captions.added(ITEM)["name"] == ""
    assert captions.added({"uid": "b2", "name": "a lamp"})["name"] == "a lamp"


def _infos(artifact: Artifact, split: str) -> list[SampleInfo]:
    return [SampleInfo.of(s) for path in artifact.shards(split) for s in read_shard(path)]


def test_a_changed_table_changes_the_state(tmp_path: Path) -> None:
    mesh_files.write(tmp_path / "meshes", "a", ".glb")
    table = tmp_path / "a.json"
    table.write_text("{}")
    captions = {"mine": CaptionTable(path=str(table))}
    config = ObjectsConfig(mirror=str(tmp_path / "meshes"), captions=captions)
    before = state_of_mirrors(config)
    table.write_text('{"a": "a text"}')
    assert state_of_mirrors(config) != before


@pytest.mark.slow
def test_captions_of_held_out_objects_are_never_trained_on(
    runtime: Runtime, tmp_path: Path
) -> None:
    """But captions that name the class of held-out objects are, if they are of others."""
    uids = [f"{label}-{n}" for label in ("chair", "lamp") for n in range(4)]
    for uid in uids:
        label, _, number = uid.partition("-")
        mesh_files.write(tmp_path / "meshes" / label, number, ".glb")
    held_out = ("chair-0", "lamp-3")
    table = tmp_path / "texts.json"
    table.write_text(json.dumps({uid: f"the very {uid}, no other" for uid in uids}))
    captions = {"mine": CaptionTable(path=str(table), weight=2)}
    config = ObjectsConfig(
        mirror=str(tmp_path / "meshes"), held_out_uids=held_out, captions=captions
    )
    made = objects.run(runtime, config)
    small = RendersConfig(size_px=16, polar_deg=(90.0,), azimuths=1, points=64)
    signal = StoredSignal("point_cloud", PointCloudSignal(points=32))
    seen = renders.run(runtime, small, made)
    paired = shards.run(runtime, ShardsConfig(), signal, renders=seen)

    trained = [text for s in ("train", "val") for i in _infos(paired, s) for text in i.captions]
    for uid in uids:
        assert (f"the very {uid}, no other" in trained) == (uid not in held_out)
    tested = Counter(text for info in _infos(paired, "test") for text in info.captions)
    assert all(tested[f"the very {uid}, no other"] == 1 for uid in held_out)
    info = _infos(paired, "train")[0]
    weights = dict(zip(info.captions, info.weights["text"], strict=True))
    of_table = [w for text, w in weights.items() if text.startswith("the very")]
    assert of_table == [2]
    assert sum(weights.values()) == pytest.approx(3)

    table.write_text(json.dumps(dict.fromkeys(uids, "another text")))
    assert objects.run(runtime, config).fingerprint != made.fingerprint
    moved = table.rename(tmp_path / "moved.json")
    elsewhere = {"mine": CaptionTable(path=str(moved), weight=2)}
    again = objects.run(runtime, config.model_copy(update={"captions": elsewhere}))
    assert again.reused
