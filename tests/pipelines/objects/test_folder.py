"""Folders of any objects: classes, tables, presets, bad files, and what decides their identity."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.execution.runtime import Runtime
from pipelines.objects import job as objects
from pipelines.objects.folder import FolderMirror
from pipelines.objects.opening import open_mirrors, state_of_mirrors
from pipelines.objects.records import ObjectRecord
from pipelines.objects.step import MirrorSettings, ObjectsConfig
from pipelines.renders import job as renders
from pipelines.renders.step import RendersConfig
from pipelines.shards import job as shards
from pipelines.shards.sample import SampleInfo
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, decode_array, read_shard
from tests.pipelines import mesh_files
from vitlens_core.errors import BadSampleError, ConfigError
from vitlens_core.modalities.point_cloud import PointCloudSignal
from vitlens_core.sandbox import Limits

CLASSES = ("red_box", "tall_thing")
BAD = {
    "red_box/page.glb": b"<!DOCTYPE html><html></html>",
    "tall_thing/cut.stl": b"solid cut\nfacet normal 0 0 1\nouter loop\nvertex 0 0",
    "tall_thing/empty.step": b"ISO-10303-21;\nDATA;\nENDSEC;",
    "tall_thing/other.fbx": b"Kaydara FBX Binary  \0",
}


def _write(root: Path) -> Path:
    """Two classes with the box in every format, and files that cannot be read."""
    for label in CLASSES:
        for ending in mesh_files.ENDINGS:
            name = f"box-{ending[1:]}"
            mesh_files.write(root / label, name, ending, mesh_files.OWN_UP[ending])
    for name, content in BAD.items():
        (root / name).write_bytes(content)
    return root


def _opened(root: Path, **settings: object) -> FolderMirror:
    stated = MirrorSettings.model_validate({"mirror": str(root), **settings})
    return FolderMirror(root, stated, Limits())


def _records(root: Path, **settings: object) -> dict[str, ObjectRecord]:
    return {record.uid: record for record in _opened(root, **settings).records()}


def _samples(artifact: Artifact) -> list[Sample]:
    return [sample for path in artifact.shards() for sample in read_shard(path)]


@pytest.mark.slow
def test_a_folder_of_nine_formats_becomes_shards(runtime: Runtime, tmp_path: Path) -> None:
    config = ObjectsConfig(mirror=str(_write(tmp_path / "meshes")), licence="cc0")
    fetched = objects.run(runtime, config)
    assert fetched.manifest.counts["samples"] == 2 * len(mesh_files.ENDINGS)
    reasons = {q.key: q.reason for q in fetched.quarantined()}
    assert set(reasons) == {
        "red_box-page",
        "tall_thing-cut",
        "tall_thing-empty",
        "tall_thing-other",
    }
    for name in BAD:
        reason = reasons[name.rpartition(".")[0].replace("/", "-")]
        assert Path(name).name in reason or name in reason
    assert "FBX is not read" in reasons["tall_thing-other"]

    small = RendersConfig(size_px=32, polar_deg=(90.0,), azimuths=1, points=128)
    seen = renders.run(runtime, small, fetched)
    assert not seen.quarantined()
    for sample in _samples(seen):
        points = decode_array(sample["points.npy"])
        height = points[:, 1].max() - points[:, 1].min()
        assert height == pytest.approx(0.8, abs=0.02)  # the longest side, upwards
    signal = StoredSignal("point_cloud", PointCloudSignal(points=64))
    made = shards.run(runtime, ShardsConfig(), signal, renders=seen)
    infos = [SampleInfo.of(sample) for sample in _samples(made)]
    assert {info.label for info in infos} == {"red box", "tall thing"}
    assert {info.licence for info in infos} == {"cc0"}


def test_the_first_folder_is_the_class_unless_told_otherwise(tmp_path: Path) -> None:
    mesh_files.write(tmp_path / "chair" / "deep", "a b", ".glb")
    mesh_files.write(tmp_path, "alone", ".glb")
    found = _records(tmp_path)
    assert {uid: r.label for uid, r in found.items()} == {"alone": None, "chair-deep-a-b": "chair"}
    assert {r.label for r in _records(tmp_path, folder_classes=False).values()} == {None}


def test_names_that_look_alike_as_keys_are_told_apart(tmp_path: Path) -> None:
    for name in ("a b", "a-b", "é", "è"):
        mesh_files.write(tmp_path / "c", name, ".stl")
    found = _records(tmp_path)
    assert len(found) == 4
    assert {r.path for r in found.values()} == {
        f"c/{name}.stl" for name in ("a b", "a-b", "é", "è")
    }


def test_one_object_in_several_formats_is_one_object(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for ending in (".stl", ".obj", ".glb"):
        mesh_files.write(tmp_path / "c", "a", ending)
    (tmp_path / "c" / "a.fbx").write_bytes(b"Kaydara FBX")
    mirror = _opened(tmp_path)
    (record,) = mirror.records()
    assert record.path == "c/a.glb"
    assert not mirror.quarantined()
    assert "several formats" in caplog.text


_COLUMNS = ("file", "label", "text", "name", "licence", "creator", "tags")
_CHAIR = ("c/a.stl", "armchair", "To read in.|Velvet.", "reading chair", "by", "Ada", "green|soft")
_ROWS = [dict(zip(_COLUMNS, row, strict=True)) for row in (_CHAIR, ("b.glb", "lamp", *[""] * 5))]


def _as_csv(delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(_ROWS)
    return text.getvalue()


def _table(root: Path, ending: str) -> str:
    """Write the rows as a table, and return its name."""
    path = root / f"facts{ending}"
    match ending:
        case ".csv" | ".tsv":
            path.write_text(_as_csv("," if ending == ".csv" else "\t"))
        case ".csv.gz":
            path.write_bytes(gzip.compress(_as_csv(",").encode()))
        case ".parquet":
            lists = [{**r, **{n: r[n].split("|") for n in ("text", "tags")}} for r in _ROWS]
            pq.write_table(pa.Table.from_pylist(lists), path)
        case ".json":
            by_file = {r["file"]: {n: r[n] for n in _COLUMNS[1:]} for r in _ROWS}
            path.write_text(json.dumps(by_file))
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in _ROWS))
    return path.name


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".json", ".jsonl", ".csv.gz"])
def test_tables_of_every_kind_state_the_same(tmp_path: Path, ending: str) -> None:
    mesh_files.write(tmp_path / "c", "a", ".stl")
    mesh_files.write(tmp_path, "b", ".glb")
    mesh_files.write(tmp_path / "other", "d", ".glb")
    found = _records(tmp_path, table=_table(tmp_path, ending), licence="cc0")
    assert found["c-a"] == ObjectRecord(
        uid="c-a",
        path="c/a.stl",
        label="armchair",
        name="reading chair",
        tags=("green", "soft"),
        captions=("To read in.", "Velvet."),
        licence="by",
        creator="Ada",
    )
    assert (found["b"].label, found["b"].licence, found["b"].name) == ("lamp", "cc0", "b")
    # A table with classes has them all: the folder `other` is none.
    assert found["other-d"].label is None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("file,labl\nc/a.stl,x\n", "unknown columns 'labl'"),
        ("label\nx\n", "expected a column file or uid"),
        ("file,label\nnowhere.stl,x\n", "none of its 1 rows names one of the 1 objects"),
        ("file,label\nc/a.stl,x\nc/a.stl,y\n", "row 3: 'c/a.stl' is already in row 2"),
        ("file,label\nc/a.stl\n", "row 2: expected 2 cells"),
        ("file,label\n", "expected a row per object"),
        ('file,label\n"c/a.stl,x\n', "cannot be read as a table"),
    ],
)
def test_a_wrong_table_is_refused_with_its_row(tmp_path: Path, rows: str, told: str) -> None:
    mesh_files.write(tmp_path / "c", "a", ".stl")
    (tmp_path / "facts.csv").write_text(rows)
    with pytest.raises(ConfigError, match=told):
        _records(tmp_path, table="facts.csv")


def test_a_row_is_of_one_object_and_not_of_its_namesakes(tmp_path: Path) -> None:
    for folder in ("c", "d"):
        mesh_files.write(tmp_path / folder, "a", ".stl")
    mesh_files.write(tmp_path, "b", ".stl")
    (tmp_path / "facts.csv").write_text("file,name\na.stl,wrong\na,wrong\nb,right\nc/a,mine\n")
    found = _records(tmp_path, table="facts.csv")
    assert {uid: r.name for uid, r in found.items()} == {"b": "right", "c-a": "mine", "d-a": "a"}


@pytest.mark.parametrize("table", ["../facts.csv", "/etc/passwd", "none.csv"])
def test_a_table_outside_the_folder_is_refused(tmp_path: Path, table: str) -> None:
    mesh_files.write(tmp_path / "c", "a", ".stl")
    with pytest.raises(ConfigError):
        _records(tmp_path, table=table)


def test_a_folder_without_objects_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.fbx").write_bytes(b"Kaydara FBX")
    with pytest.raises(ConfigError, match=r"expected files of GLB, glTF, OBJ.*found FBX"):
        open_mirrors(ObjectsConfig(mirror=str(tmp_path)))


def test_a_link_out_of_the_folder_is_set_aside(tmp_path: Path) -> None:
    mesh_files.write(tmp_path / "outside", "secret", ".glb")
    root = tmp_path / "meshes"
    mesh_files.write(root, "a", ".glb")
    (root / "b.glb").symlink_to(tmp_path / "outside" / "secret.glb")
    mirror = _opened(root)
    linked = next(record for record in mirror.records() if record.uid == "b")
    with pytest.raises(BadSampleError, match="leads out"):
        mirror.fetch(linked, tmp_path)
    mirror.close()


def test_workers_are_sent_no_listing(tmp_path: Path) -> None:
    mirror = _opened(_write(tmp_path))
    assert mirror.listing.objects
    again = pickle.loads(pickle.dumps(mirror))
    assert "listing" not in vars(again)
    assert again.settings == mirror.settings


@pytest.mark.slow
def test_only_content_and_settings_decide_the_identity(runtime: Runtime, tmp_path: Path) -> None:
    for name in "abc":
        mesh_files.write(tmp_path / "meshes" / "c", name, ".obj")
    config = ObjectsConfig(mirror=str(tmp_path / "meshes"))
    first = objects.run(runtime, config).fingerprint
    moved = shutil.copytree(tmp_path / "meshes", tmp_path / "moved")
    elsewhere = config.model_copy(update={"mirror": str(moved)})
    assert objects.run(runtime, elsewhere).fingerprint == first
    turned = config.model_copy(update={"up": "z"})
    assert objects.run(runtime, turned).fingerprint != first
    (moved / "c" / "a-paint.png").write_bytes(mesh_files.png((0, 0, 0)) + b"\0")
    assert objects.run(runtime, elsewhere).fingerprint != first


@pytest.mark.slow
def test_several_mirrors_with_their_own_settings(runtime: Runtime, tmp_path: Path) -> None:
    for place in ("one", "two"):
        for name in "abcd":
            mesh_files.write(
                tmp_path / place / "box", name, ".stl", up="z" if place == "two" else "y"
            )
    both = {
        "mirror": str(tmp_path / "one"),
        "more": {"two": {"mirror": str(tmp_path / "two"), "up": "z", "licence": "by"}},
    }
    with pytest.raises(ConfigError, match=r"4 uids occur twice.*'box-a'.*prefix"):
        objects.run(runtime, ObjectsConfig.model_validate(both))
    both["more"]["two"]["prefix"] = "two-"
    made = objects.run(runtime, ObjectsConfig.model_validate(both))
    described = [json.loads(sample["json"]) for sample in _samples(made)]
    assert {(d["mirror"], d["licence"]) for d in described} == {("", None), ("two", "by")}
    assert {d["uid"] for d in described if d["mirror"]} == {f"two-box-{n}" for n in "abcd"}
    state = state_of_mirrors(ObjectsConfig.model_validate(both))
    mesh_files.write(tmp_path / "two" / "box", "e", ".stl")
    assert state_of_mirrors(ObjectsConfig.model_validate(both)) != state


def test_what_objaverse_states_itself_is_no_setting_of_it() -> None:
    with pytest.raises(ConfigError, match=r"objects.up is for a folder"):
        open_mirrors(ObjectsConfig(mirror="embedded", up="z"))


@pytest.mark.parametrize(
    ("layout", "mark"),
    [
        ("shapenet", "taxonomy.json"),
        ("abo", "3dmodels/metadata/3dmodels.csv.gz"),
        ("3d-future", "model_info.json"),
        ("objaverse-xl", "smithsonian/smithsonian.parquet"),
    ],
)
def test_a_data_sets_layout_is_known_by_its_list(tmp_path: Path, layout: str, mark: str) -> None:
    """As the layout reads it, down to the refusal of an empty list."""
    mesh_files.write(tmp_path / "02691156", "a", ".obj")
    (mirror,) = open_mirrors(ObjectsConfig(mirror=str(tmp_path))).values()
    assert {record.label for record in mirror.records()} == {"02691156"}
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).write_bytes(gzip.compress(b"\n") if mark.endswith("gz") else b"[]")
    said = set()
    for chosen in ("auto", layout):
        config = ObjectsConfig.model_validate({"mirror": str(tmp_path), "layout": chosen})
        with pytest.raises(ConfigError) as refused:
            open_mirrors(config)
        said.add(str(refused.value))
    assert len(said) == 1


@pytest.mark.slow
def test_shapenet_is_read_in_its_layout(tmp_path: Path) -> None:
    taxonomy = [{"synsetId": "02691156", "name": "airplane,aeroplane,plane", "children": []}]
    (tmp_path / "taxonomy.json").write_text(json.dumps(taxonomy))
    home = tmp_path / "02691156" / "10155655850468db78d106ce0a280f87"
    path = mesh_files.write(home / "models", "model_normalized", ".obj")
    (home / "images").mkdir()
    (home / "models" / "model_normalized-paint.png").rename(home / "images" / "texture0.png")
    path.with_suffix(".mtl").write_text("newmtl paint\nmap_Kd ../images/texture0.png\n")
    mesh_files.write(tmp_path / "02691156" / "old", "model", ".obj")
    mirror = _opened(tmp_path, layout="shapenet")
    of_2, of_1 = mirror.records()
    assert of_2.uid == "02691156-10155655850468db78d106ce0a280f87"
    assert (of_2.label, of_2.tags, of_2.licence) == ("airplane", ("aeroplane", "plane"), "shapenet")
    assert of_1.uid == "02691156-old"
    glb = mirror.fetch(of_2, tmp_path).path.read_bytes()
    mirror.close()
    assert b"image/png" in glb


def test_abo_is_read_in_its_layout(tmp_path: Path) -> None:
    mesh_files.write(tmp_path / "3dmodels" / "original" / "5", "B075HWK9M5", ".glb")
    lists = tmp_path / "3dmodels" / "metadata"
    lists.mkdir()
    rows = "3dmodel_id,path,meshes\nB075HWK9M5,5/B075HWK9M5.glb,1\nB0GONE,E/B0GONE.glb,1\n"
    (lists / "3dmodels.csv.gz").write_bytes(gzip.compress(rows.encode()))
    product = {
        "item_id": "B1",
        "3dmodel_id": "B075HWK9M5",
        "item_name": [
            {"language_tag": "de_DE", "value": "Sofa, grau"},
            {"language_tag": "en_GB", "value": "A grey sofa"},
        ],
        "product_type": [{"value": "SOFA_BED"}],
        "bullet_point": [{"language_tag": "en_US", "value": "Folds out in seconds"}],
        "color": [{"language_tag": "en_US", "value": "Grey"}],
    }
    lines = "".join(json.dumps(one) + "\n" for one in (product, {"item_id": "no model"}))
    (tmp_path / "listings" / "metadata").mkdir(parents=True)
    listings = tmp_path / "listings" / "metadata" / "listings_0.json.gz"
    listings.write_bytes(gzip.compress(lines.encode()))
    (record,) = _records(tmp_path, layout="abo").values()
    assert record == ObjectRecord(
        uid="B075HWK9M5",
        path="3dmodels/original/5/B075HWK9M5.glb",
        label="sofa bed",
        name="A grey sofa",
        tags=("Grey",),
        captions=("Folds out in seconds",),
        licence="by-nc",
    )


def test_3d_future_is_read_in_its_layout(tmp_path: Path) -> None:
    model = "0004ae9a-1d27-4dbd-8416-879e9de1de8d"
    mesh_files.write(tmp_path / model, "raw_model", ".obj")
    mesh_files.write(tmp_path / model, "normalized_model", ".obj")
    info = {
        "model_id": model,
        "super-category": "Sofa",
        "category": "Lounge Chair / Cafe Chair",
        "style": "Modern",
        "theme": None,
        "material": "Cloth",
    }
    missing = {**info, "model_id": "not-downloaded"}
    (tmp_path / "model_info.json").write_text(json.dumps([info, missing]))
    (record,) = _records(tmp_path, layout="3d-future").values()
    assert record.path == f"{model}/raw_model.obj"
    assert (record.uid, record.label) == (model, "lounge chair or cafe chair")
    assert record.tags == ("Modern", "Cloth", "Sofa")


def test_a_list_that_names_files_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mesh_files.write(tmp_path / "secret", "raw_model", ".obj")
    info = [{"model_id": "../secret", "category": "Chair"}]
    (tmp_path / "data" / "model_info.json").write_text(json.dumps(info))
    with pytest.raises(ConfigError, match=r"without `\.\.`"):
        _records(tmp_path / "data", layout="3d-future")


@pytest.mark.parametrize("layout", ["shapenet", "abo", "3d-future"])
def test_a_layout_that_is_not_there_is_refused(tmp_path: Path, layout: str) -> None:
    mesh_files.write(tmp_path, "a", ".glb")
    with pytest.raises(ConfigError):
        open_mirrors(ObjectsConfig(mirror=str(tmp_path), layout=layout))  # ty: ignore[invalid-argument-type]


def test_kicads_parts_are_read_in_their_layout(tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "3dmodels" / "Capacitor_THT.3dshapes"
    mesh_files.write(folder, "C_Rect_L10.0mm_W5.0mm_P5.00mm", ".step")
    (folder / "C_Rect_L10.0mm_W5.0mm_P5.00mm.wrl").write_text("#VRML V2.0 utf8\n")
    mesh_files.write(tmp_path / "Connector_PinHeader_2.54mm.3dshapes", "PinHeader_1x18", ".step")
    found = _records(tmp_path, layout="kicad")
    part = found["Capacitor_THT-C_Rect_L10-0mm_W5-0mm_P5-00mm"]
    assert part.label == "through-hole capacitor"
    assert part.licence == "by-sa"
    assert part.captions == (
        "capacitor rect, 10 mm long, 5 mm wide, with a pitch of 5 mm",
        "capacitor rect, 10 mm long, 5 mm wide, with a pitch of 5 mm, of the family "
        "through-hole capacitor",
    )
    other = found["Connector_PinHeader_2-54mm-PinHeader_1x18"]
    assert other.label == "connector pin header 2.54mm"
    assert other.captions[0] == "pin header, 1 by 18"
    with pytest.raises(ConfigError, match="KiCad"):
        _records(tmp_path / "usr" / "3dmodels" / "Capacitor_THT.3dshapes", layout="kicad")
