"""Pieces: ranges that cover every shard once, and a data set that is the same built in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation
from pipelines.foundation.step import FoundationConfig
from pipelines.objects import job as objects
from pipelines.objects.step import ObjectsConfig
from pipelines.renders import job as renders
from pipelines.renders.step import RendersConfig
from pipelines.shards import job as shards
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.source import job as source
from pipelines.source.datasets.esc50 import Esc50
from pipelines.store.artifacts import Artifact
from pipelines.store.pieces import Piece, pieces
from tests.pipelines.quiet import quiet_runtime
from tests.pipelines.source.datasets.small_sounds import write_sound, write_text
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.audio import AudioSignal
from vitlens_core.modalities.point_cloud import PointCloudSignal

pytestmark = pytest.mark.slow

CLOUDS = StoredSignal("point_cloud", PointCloudSignal(points=256))
TONES = StoredSignal("audio", AudioSignal(clips=1, clip_s=0.2, mel_bins=16, frames=20))


@given(shards=st.integers(0, 200), total=st.integers(1, 60))
def test_pieces_cover_every_shard_once_in_order(shards: int, total: int) -> None:
    names = [f"train-{number:05d}" for number in range(shards)]
    ranges = [piece.of(names) for piece in pieces(total)]
    assert [name for found in ranges for name in found] == names
    sizes = [len(found) for found in ranges]
    assert max(sizes) - min(sizes) <= 1


@given(total=st.integers(1, 1000))
def test_names_are_read_back_and_sort_as_the_pieces_do(total: int) -> None:
    names = [str(piece) for piece in pieces(total)]
    assert names == sorted(set(names))
    assert [Piece.parse(name) for name in names] == pieces(total)


@pytest.mark.parametrize("name", ["3", "0-of-4", "5-of-4", "one-of-two", "", "1-of-2-of-3"])
def test_a_name_of_no_piece_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Piece.parse(name)


def _written(runtime: Runtime) -> dict[str, int]:
    """Shards with the time each was written."""
    return {str(tar): tar.stat().st_mtime_ns for tar in runtime.store.root.glob("*/*/*.tar")}


def _files(artifact: Artifact) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifact.shards()}


def _same(found: Artifact, expected: Artifact) -> None:
    """But for the seconds that it took."""
    assert not found.is_part
    found.verify()
    assert found.manifest.model_copy(update={"seconds": 0.0}) == expected.manifest.model_copy(
        update={"seconds": 0.0}
    )
    assert _files(found) == _files(expected)


def test_objects_built_in_pieces_are_those_of_one_go(
    runtime: Runtime,
    flow_mirror: Path,
    objects_artifact: Artifact,
    renders_artifact: Artifact,
    shards_artifact: Artifact,
) -> None:
    """Last piece first, as machines that share a store might."""
    objects_config = ObjectsConfig(mirror=str(flow_mirror), objects_per_shard=3)
    renders_config = RendersConfig.model_validate(renders_artifact.manifest.config)
    built: list[str] = []
    for piece in reversed(pieces(2)):
        fetched = objects.run(runtime, objects_config, piece)
        rendered = renders.run(runtime, renders_config, fetched)
        paired = shards.run(runtime, ShardsConfig(), CLOUDS, renders=rendered)
        names = [path.name for path in fetched.shards()]
        assert len(names) > 1
        for part in (fetched, rendered, paired):
            assert part.is_part
            assert [path.name for path in part.shards()] == names
            part.verify()
        built += names
    assert sorted(built) == [path.name for path in objects_artifact.shards()]
    assert runtime.store.artifacts() == []

    made = _written(runtime)
    fetched = objects.run(runtime, objects_config)
    rendered = renders.run(runtime, renders_config, fetched)
    paired = shards.run(runtime, ShardsConfig(), CLOUDS, renders=rendered)
    assert _written(runtime) == made, "nothing may be made anew"
    _same(fetched, objects_artifact)
    _same(rendered, renders_artifact)
    _same(paired, shards_artifact)


def test_a_source_built_in_pieces_is_that_of_one_go(
    runtime: Runtime, tmp_path: Path, flow_runtime: Runtime
) -> None:
    settings = Esc50(root=str(_sounds(tmp_path / "esc50")), pairs_per_shard=2)
    parts = []
    for piece in pieces(3):
        listed = source.run(runtime, settings, "audio", piece)
        parts.append(shards.run(runtime, ShardsConfig(), TONES, settings, source=listed))
    assert [a.manifest.step for a in runtime.store.artifacts()] == ["source"]

    other = quiet_runtime(tmp_path / "other")
    whole = shards.run(
        other, ShardsConfig(), TONES, settings, source=source.run(other, settings, "audio")
    )
    listed = source.run(runtime, settings, "audio")
    _same(shards.run(runtime, ShardsConfig(), TONES, settings, source=listed), whole)
    assert sum(len(part.shards()) for part in parts) == len(whole.shards())


def test_a_piece_of_what_is_finished_makes_nothing(
    flow_runtime: Runtime, flow_mirror: Path, objects_artifact: Artifact
) -> None:
    config = ObjectsConfig(mirror=str(flow_mirror), objects_per_shard=3)
    before = {path.name: path.stat().st_mtime_ns for path in objects_artifact.folder.iterdir()}
    part = objects.run(flow_runtime, config, Piece(1, 2))
    assert part.folder == objects_artifact.folder
    after = {path.name: path.stat().st_mtime_ns for path in part.folder.iterdir()}
    assert after == before


def test_a_step_that_needs_the_whole_refuses_a_piece(
    runtime: Runtime, shards_artifact: Artifact
) -> None:
    part = Piece(1, 2).of_artifact(shards_artifact)
    config = FoundationConfig()
    with pytest.raises(ConfigError, match=r"foundation needs all shards of shards.*ordinary run"):
        foundation.run(runtime, config, {}, part)


def _sounds(root: Path) -> Path:
    """ESC-50's layout: two clips in each of five folds."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for take, label in enumerate(("dog", "rain")):
            name = f"{fold}-{100 + fold}-{'AB'[take]}-{take}.wav"
            write_sound(root / "audio" / name, hz=300.0 + 50 * fold + take)
            rows.append(f"{name},{fold},{take},{label},True,{100 + fold},{'AB'[take]}")
    write_text(root / "meta" / "esc50.csv", *rows)
    return root
