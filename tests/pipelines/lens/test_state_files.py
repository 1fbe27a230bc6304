"""A training's checkpoint is data: nothing in it runs, and damage is refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.lens import state_files
from vitlens_core.errors import CheckpointError


def state() -> dict[str, Any]:
    """Tensors of every shape that a training has."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, generator=generator)
    return {
        "tower": {"block.weight": weight, "log_scale": torch.tensor(2.5)},
        "optimizer": {
            "block.weight": {"step": torch.tensor(7.0), "exp_avg": weight.half()},
            "half": {"exp_avg_sq": torch.arange(4, dtype=torch.bfloat16)},
        },
    }


def empty(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: empty(v) if isinstance(v, dict) else torch.zeros_like(v) for name, v in value.items()
    }


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    pairs = zip(state_files._flat(one), state_files._flat(other), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def parts(folder: Path, name: str, whole: torch.Tensor, rows: list[tuple[int, int]]) -> None:
    """Write one tensor as several workers would."""
    for rank, (first, end) in enumerate(rows):
        placed = {name: {"shape": list(whole.shape), "offset": [first] + [0] * (whole.ndim - 1)}}
        path = folder / f"state-{rank:05d}-of-{len(rows):05d}.safetensors"
        save_file({name: whole[first:end].clone()}, path, {"placed": json.dumps(placed)})


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    written, read = state(), empty(state())
    state_files.snapshot(written, 0, 2).write(tmp_path)
    state_files.snapshot(written, 1, 2).write(tmp_path)
    assert not load_file(tmp_path / "state-00001-of-00002.safetensors"), "written once"
    state_files.load(tmp_path, read)
    assert equal(read, written)


@pytest.mark.parametrize("rows", [[(0, 5)], [(0, 3), (3, 5)], [(0, 2), (2, 4), (4, 5)]])
def test_parts_are_put_together(tmp_path: Path, rows: list[tuple[int, int]]) -> None:
    whole = torch.arange(15.0).reshape(5, 3)
    parts(tmp_path, "a", whole, rows)
    read = {"a": torch.zeros(5, 3)}
    state_files.load(tmp_path, read)
    assert torch.equal(read["a"], whole)


class Trap:
    """Writes a file as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "state.pt", "optimizer.pkl"])
def test_a_pickle_in_the_store_is_never_run_on_resume(tmp_path: Path, name: str) -> None:
    touched, folder = tmp_path / "touched", tmp_path / "checkpoint"
    folder.mkdir()
    state_files.snapshot(state(), 0, 1).write(folder)
    (folder / name).write_bytes(pickle.dumps(Trap(touched)))
    read = empty(state())
    state_files.load(folder, read)
    assert equal(read, state())
    (folder / "state-00000-of-00001.safetensors").write_bytes(pickle.dumps(Trap(touched)))
    with pytest.raises(CheckpointError, match="damaged"):
        state_files.load(folder, read)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "state-00000-of-00001.safetensors").unlink(), "lacks 5 of 5"),
        (lambda folder: parts(folder, "other", torch.ones(2), [(0, 2)]), "does not have"),
        (lambda folder: parts(folder, "tower/block.weight", torch.ones(5, 3), [(0, 3)]), "lacks"),
        (lambda folder: parts(folder, "tower/block.weight", torch.ones(4, 3), [(0, 4)]), "shape"),
        (
            lambda folder: save_file(
                {"tower/block.weight": torch.ones(5, 3)},
                folder / "state-00000-of-00001.safetensors",
            ),
            "damaged",
        ),
        (
            lambda folder: (folder / "state-00000-of-00001.safetensors").write_bytes(b"\xff" * 64),
            "damaged",
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: Any, reason: str) -> None:
    state_files.snapshot(state(), 0, 1).write(tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=reason):
        state_files.load(tmp_path, empty(state()))


def test_nothing_of_ours_unpickles_but_the_reader_of_published_arrays() -> None:
    root = Path(state_files.__file__).parents[2]
    words = ("pickle.load", "torch.load(", "pickle.Unpickler")
    found = {
        path.relative_to(root).as_posix()
        for package in ("vitlens_core", "pipelines", "workflows")
        for path in (root / package).rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    # Two read published `.pt` files, with `weights_only`; bulk jobs carry errors of own workers.
    assert found == {
        "vitlens_core/readers/pickled.py",
        "vitlens_core/models/weights.py",
        "pipelines/source/datasets/imagenet_eeg.py",
    }
