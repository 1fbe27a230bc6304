"""Another mirror, other classes, broken files in it: quarantined with reasons, none fatal."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.objects import job as objects
from pipelines.objects.step import ObjectsConfig
from pipelines.renders import job as renders
from pipelines.renders.step import RendersConfig
from pipelines.store.shards import read_shard
from tests.pipelines.quiet import quiet_runtime
from tests.pipelines.small_mirror import write_json
from tests.vitlens_core.rendering.glb_builder import TRIANGLE, Glb, cube, triangle

SECRET = b"nobody may read this"


REASONS = {
    "truncated": "truncated GLB",
    "html": "HTML",
    "empty": "empty scene",
    "nothing": "empty file",
    "nan": "not finite",
    "absurd": "2000000000 elements",
    **dict.fromkeys(("absolute", "parent", "device", "fileurl"), "points outside the file"),
}


def nan_vertices() -> bytes:
    glb = triangle()
    glb.binary[:4] = np.float32(np.nan).tobytes()
    return glb.pack()


def absurd_count() -> bytes:
    glb = triangle()
    glb.document["accessors"][0]["count"] = 2_000_000_000
    return glb.pack()


def external_buffer(uri: str) -> bytes:
    glb = triangle()
    glb.document["buffers"] = [{"uri": uri, "byteLength": len(TRIANGLE.tobytes())}]
    return glb.pack()


def external_image(uri: str) -> bytes:
    glb = cube(np.zeros((2, 2, 4), np.uint8))
    glb.document["images"] = [{"uri": uri}]
    return glb.pack()


def hostile(outside: Path) -> dict[str, bytes]:
    whole = cube().pack()
    return {
        "truncated": whole[: len(whole) // 2],
        "html": b"<!DOCTYPE html><html><body>Not found</body></html>",
        "empty": Glb().pack(),
        "nothing": b"",
        "nan": nan_vertices(),
        "absurd": absurd_count(),
        "absolute": external_buffer(str(outside)),
        "parent": external_buffer("../../../secret.bin"),
        "device": external_buffer("/dev/zero"),
        "fileurl": external_image(f"file://{outside}"),
    }


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Six good objects of two classes of its own, ten broken ones, one beyond its folder."""
    (tmp_path / "secret.bin").write_bytes(SECRET)
    files = {f"good{i}": cube(np.full((2, 2, 4), 40 * i + 40, np.uint8)).pack() for i in range(6)}
    files |= hostile(tmp_path / "secret.bin")
    root = tmp_path / "mirror" / "hf-objaverse-v1"
    folder = root / "glbs" / "000-001"
    folder.mkdir(parents=True)
    for uid, data in files.items():
        (folder / f"{uid}.glb").write_bytes(data)
    paths = {uid: f"glbs/000-001/{uid}.glb" for uid in files} | {"escape": "../../secret.bin"}
    uids = sorted(files)
    write_json(root / "object-paths.json.gz", paths)
    write_json(root / "lvis-annotations.json.gz", {"dice": uids[::2], "crate": uids[1::2]})
    metadata = {
        uid: {"name": uid, "license": "by", "archives": {"glb": {"size": len(data)}}}
        for uid, data in files.items()
    }
    write_json(root / "metadata" / "000-001.json.gz", metadata)
    return tmp_path / "mirror"


def test_broken_files_are_quarantined_with_reasons_and_the_job_goes_on(mirror, tmp_path, local_ray):
    runtime = quiet_runtime(tmp_path / "home", render_workers=1)
    fetched = objects.run(runtime, ObjectsConfig(mirror=str(mirror), objects_per_shard=8))
    config = RendersConfig(size_px=32, polar_deg=(90.0,), azimuths=2, points=64)
    rendered = renders.run(runtime, config, fetched)

    reasons = {q.key: q.reason for q in (*fetched.quarantined(), *rendered.quarantined())}
    assert reasons.keys() == {*hostile(tmp_path), "escape"}
    for key, words in REASONS.items():
        assert words in reasons[key]
    assert "not of the form" in reasons["escape"]
    kept = {s["__key__"] for path in rendered.shards() for s in read_shard(path)}
    assert kept == {f"good{i}" for i in range(6)}
    assert rendered.manifest.counts["samples"] == 6
    written = [p for p in (tmp_path / "home").rglob("*") if p.is_file()]
    assert not any(SECRET in path.read_bytes() for path in written)
    assert not [p for p in written if p.name.endswith((".tmp", ".part"))]
