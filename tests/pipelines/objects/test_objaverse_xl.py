"""Objaverse-XL in the layout that the `objaverse` package's own downloaders write and read."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from objaverse.utils import get_uid_from_str
from objaverse.xl.sketchfab import SketchfabDownloader
from objaverse.xl.thingiverse import ThingiverseDownloader

from pipelines.execution.runtime import Runtime
from pipelines.objects import job as objects
from pipelines.objects.folder import FolderMirror
from pipelines.objects.objaverse_xl import licence_of, list_objaverse_xl
from pipelines.objects.step import MirrorSettings, ObjectsConfig
from pipelines.store.shards import read_shard
from tests.pipelines import mesh_files
from vitlens_core.errors import BadSampleError, ConfigError
from vitlens_core.sandbox import Limits

UID = "8476c4170df24cf5bbe6967222d1a42d"
THING = "https://www.thingiverse.com/thing:12/files?fileId=34"
SMITHSONIAN = "https://3d-api.si.edu/content/document/3d_package:1/chair.glb"
GITHUB = "https://github.com/ada/meshes/blob/0123abcd"


def _file(root: Path, path: str, turn: int = 0) -> str:
    """Write a box whose bytes are its own; return its sha256."""
    place = root / path
    mesh_files.write(place.parent, place.stem, place.suffix, "y")
    if turn:
        place.write_bytes(place.read_bytes() + b"\n" * turn)
    return hashlib.sha256(place.read_bytes()).hexdigest()


def _annotations(root: Path, source: str, *found: tuple[str, str, str | None, str]) -> None:
    """Write a parquet file: fileIdentifier, sha256, license and metadata of every object."""
    frame = pd.DataFrame(
        {
            "fileIdentifier": [row[0] for row in found],
            "source": [source for _ in found],
            "license": [row[2] for row in found],
            "fileType": [row[0].rpartition(".")[2] for row in found],
            "sha256": [row[1] for row in found],
            "metadata": [row[3] for row in found],
        }
    )
    (root / source).mkdir(parents=True, exist_ok=True)
    frame.to_parquet(root / source / f"{source}.parquet")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small mirror with objects of all four sources, and with what may be wrong."""
    root = tmp_path / "xl"
    repository = "github/repos/ada/meshes"
    chair = _file(root, f"{repository}/models/old chair.obj")
    (root / repository / "scene.fbx").write_bytes(b"Kaydara FBX Binary  \0")
    (root / "github/repos/bob").mkdir()
    (root / "github/repos/bob/zipped.zip").write_bytes(b"PK")
    _annotations(
        root,
        "github",
        (f"{GITHUB}/models/old chair.obj", chair, "MIT License", "{}"),
        (f"{GITHUB}/copy/of chair.obj", chair, "MIT License", "{}"),
        (f"{GITHUB}/scene.fbx", "f" * 64, "MIT License", "{}"),
        (f"{GITHUB}/gone.glb", "1" * 64, "MIT License", "{}"),
        (f"{GITHUB}/../../../../../outside.obj", "2" * 64, None, "{}"),
        ("https://github.com/bob/zipped/blob/77/a.obj", "3" * 64, None, "{}"),
    )
    (root.parent / "outside.obj").write_text("v 0 0 0")
    thing = f"thing-{ThingiverseDownloader.get_thing_id_from_file_identifier(THING)}"
    thing += f"-file-{ThingiverseDownloader.get_file_id_from_file_identifier(THING)}.stl"
    stl = _file(root, f"thingiverse/{thing}")
    licence = "Creative Commons - Attribution - Share Alike"
    _annotations(root, "thingiverse", (THING, stl, licence, '{"filename": "cup_holder.stl"}'))
    glb = _file(root, f"smithsonian/objects/{get_uid_from_str(SMITHSONIAN)}.glb")
    _annotations(root, "smithsonian", (SMITHSONIAN, glb, "CC0", '{"title": "A chair"}'))
    of_uid = _file(root, f"hf-objaverse-v1/glbs/000-023/{UID}.glb", turn=0)
    assert of_uid == glb  # the same file as the Smithsonian's
    second = _file(root, f"hf-objaverse-v1/glbs/000-024/{UID[::-1]}.ply")
    _annotations(
        root,
        "sketchfab",
        (SketchfabDownloader.uid_to_file_identifier(UID), of_uid, "by", "{}"),
        (SketchfabDownloader.uid_to_file_identifier(UID[::-1]), second, "by-nc", "{}"),
    )
    classes = gzip.compress(json.dumps({"lamp": [UID[::-1]]}).encode())
    (root / "hf-objaverse-v1" / "lvis-annotations.json.gz").write_bytes(classes)
    return root


def _settings(root: Path, **settings: object) -> MirrorSettings:
    stated = {"mirror": str(root), "layout": "objaverse-xl", **settings}
    return MirrorSettings.model_validate(stated)


def test_objects_of_all_sources_are_known_by_their_digest(root: Path) -> None:
    listing = list_objaverse_xl(root)
    found = {
        one.path: (one.name, one.licence, one.label, one.home, one.uid) for one in listing.objects
    }
    smithsonian = f"smithsonian/objects/{get_uid_from_str(SMITHSONIAN)}.glb"
    sketchfab = f"hf-objaverse-v1/glbs/000-024/{UID[::-1]}.ply"
    assert {path: known[:4] for path, known in found.items()} == {
        "github/repos/ada/meshes/models/old chair.obj": (
            "old chair",
            "mit license",
            None,
            "github/repos/ada/meshes",
        ),
        "thingiverse/thing-12-file-34.stl": ("cup holder", "by-sa", None, ""),
        smithsonian: ("A chair", "cc0", None, ""),
        sketchfab: (UID[::-1], "by-nc", "lamp", ""),
    }
    for path, known in found.items():
        assert known[4] == hashlib.sha256((root / path).read_bytes()).hexdigest()


def test_what_cannot_be_read_says_why_and_what_is_not_there_is_left_out(root: Path) -> None:
    refused = list_objaverse_xl(root).refused
    assert refused.keys() == {"f" * 64, "2" * 64, "3" * 64}
    assert "FBX is not read" in refused["f" * 64]
    assert "without `..`" in refused["2" * 64]
    assert 'save_repo_format="files"' in refused["3" * 64]


def test_a_file_of_another_digest_is_refused(root: Path, tmp_path: Path) -> None:
    mirror = FolderMirror(root, _settings(root, prefix="xl-"), Limits())
    records = {record.path: record for record in mirror.records()}
    place = "thingiverse/thing-12-file-34.stl"
    assert records[place].uid.startswith("xl-")
    try:
        assert mirror.fetch(records[place], tmp_path).path.is_file()
        (root / place).write_bytes((root / place).read_bytes() + b" ")
        with pytest.raises(
            BadSampleError, match=r"file-34\.stl: its sha256 is .* download it again"
        ):
            mirror.fetch(records[place], tmp_path)
    finally:
        mirror.close()


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("by", "by"),
        ("CC0", "cc0"),
        ("Creative Commons - Attribution", "by"),
        ("Creative Commons - Attribution - Share Alike", "by-sa"),
        ("Creative Commons - Attribution - Non-Commercial - No Derivatives", "by-nc-nd"),
        ("Creative Commons - Public Domain Dedication", "cc0"),
        ("Creative Commons Attribution Share Alike 4.0 International", "by-sa"),
        ("Creative Commons Zero v1.0 Universal", "cc0"),
        ("CC BY-NC-SA 4.0", "by-nc-sa"),
        ("MIT License", "mit license"),
        ("", None),
    ],
)
def test_licences_are_spelt_one_way(stated: str, expected: str | None) -> None:
    assert licence_of(stated) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda frame: frame.drop(columns="sha256"), "no column sha256"),
        (lambda frame: frame.assign(sha256="abc"), "row 2: .*has no sha256 but 'abc'"),
    ],
)
def test_other_annotations_are_refused(root: Path, change, expected: str) -> None:
    path = root / "github" / "github.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    with pytest.raises(ConfigError, match=expected):
        list_objaverse_xl(root)


def test_a_folder_without_annotations_or_objects_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no annotations .*github/github\.parquet"):
        list_objaverse_xl(tmp_path / "nothing")
    (tmp_path / "bare" / "github").mkdir(parents=True)
    (root / "github" / "github.parquet").rename(tmp_path / "bare" / "github" / "github.parquet")
    with pytest.raises(ConfigError, match="none of the objects"):
        list_objaverse_xl(tmp_path / "bare")


@pytest.mark.slow
def test_licences_choose_what_is_fetched(root: Path, runtime: Runtime) -> None:
    stated = {"mirror": str(root), "layout": "objaverse-xl", "labelled_only": False}
    config = ObjectsConfig.model_validate(stated | {"licences": ["cc0", "by-sa"]})
    fetched = objects.run(runtime, config)
    known = [json.loads(s["json"]) for path in fetched.shards() for s in read_shard(path)]
    assert sorted(one["licence"] for one in known) == ["by-sa", "cc0"]
    assert {q.key for q in fetched.quarantined()} == {"f" * 64, "2" * 64, "3" * 64}
