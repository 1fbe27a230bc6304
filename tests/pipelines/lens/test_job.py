"""lens: Ray Train from targets to a checkpoint, on one worker and on two."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from pipelines.execution.runtime import Runtime
from pipelines.foundation.opening import open_foundation
from pipelines.lens import job as lens
from pipelines.lens.curves import TrainingCurves, read_curves
from pipelines.lens.not_finite import LossError
from pipelines.lens.settings import TrainConfig
from pipelines.registry.loggers.json_lines import JsonLines
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.home import Home
from tests.pipelines import synthetic
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.model_files import LENS_FILE

TRAIN = {"steps": 4, "batch_size": 6, "warmup_steps": 1, "validate_every": 2, "precision": "fp32"}


CONFIG = TrainConfig.model_validate(TRAIN)
TOWER = synthetic.trained_tower()


def test_a_lens_is_stored_with_its_curves_and_nothing_else(
    lens_artifact: Artifact, foundation_artifact: Artifact, runtime: Runtime, tiny_lit: str
) -> None:
    lens_artifact.verify()
    assert {file.name for file in lens_artifact.manifest.files} == {LENS_FILE, "curves.json"}
    assert {path.name for path in lens_artifact.folder.iterdir()} == {
        *(LENS_FILE, "curves.json", "manifest.json")
    }
    curves = read_curves(lens_artifact)
    assert [point["step"] for point in curves.train] == [1, 2, 3, 4, 5, 6]
    assert curves.validated_against == "image"
    path = Path(str(lens_artifact.path(LENS_FILE)))
    load_lens(path, open_foundation(foundation_artifact))
    other = synthetic.foundation(runtime.store, tiny_lit)
    with pytest.raises(CheckpointError, match="was trained against"):
        load_lens(path, open_foundation(other))


def _logged(runtime: Runtime, folder: Path) -> Runtime:
    return replace(runtime, loggers=(JsonLines().open(Home(folder)),))


def _lines(folder: Path) -> list[dict[str, Any]]:
    """What a logger was told of the only training of a home."""
    [path] = (folder / "curves").iterdir()
    return [json.loads(line) for line in path.read_text().splitlines()]


def _assert_told(folder: Path, curves: TrainingCurves) -> None:
    lines = _lines(folder)
    train = {point["step"]: point["loss"] for point in curves.train}
    for part, losses in {"train": train, "val": {p.step: p.loss for p in curves.val}}.items():
        told = [line for line in lines if f"{part}.loss" in line]
        found = {line["step"]: line[f"{part}.loss"] for line in told}
        assert len(told) == len(found), "told twice"
        assert found == losses
    assert [line["error"] for line in lines if line.get("event") == "ended"] == [None]


def test_loggers_are_told_of_a_training_and_not_of_a_lens_that_is_reused(
    tmp_path: Path, tiny_lit: str
) -> None:
    runtime = _logged(quiet_runtime(tmp_path), tmp_path)
    targets = synthetic.targets(runtime.store, {"train": (6, 6), "val": (3,)})
    foundation = synthetic.foundation(runtime.store, tiny_lit)
    made = lens.run(runtime, CONFIG, TOWER, targets, foundation)
    _assert_told(tmp_path, read_curves(made))
    before = _lines(tmp_path)
    assert lens.run(runtime, CONFIG, TOWER, targets, foundation).reused
    assert _lines(tmp_path) == before


def test_a_lens_is_trained_on_batches_of_neighbours_with_tokens_and_branches_left_out(
    tmp_path: Path, tiny_lit: str
) -> None:
    """All that a recipe may ask of the trainer at once; the table of neighbours does not stay."""
    runtime = quiet_runtime(tmp_path)
    targets = synthetic.targets(runtime.store, {"train": (6, 6), "val": (3,)})
    foundation = synthetic.foundation(runtime.store, tiny_lit)
    asked: dict[str, object] = {
        "hard_negatives": {"group": 3, "nearest": 5},
        "token_dropout": 0.5,
        "drop_path": 0.2,
    }
    asked |= {"layer_decay": 0.9, "rate_factors": {"trunk": 0.1}, "gradient_clip": None}
    asked |= {"schedule": "staircase", "staircase_steps": 2, "accumulation": 2}
    tower = synthetic.trained_tower(trunk={"skip_first": 9, "unlock_first": 1, "unlock_last": 1})
    made = lens.run(runtime, TrainConfig.model_validate(TRAIN | asked), tower, targets, foundation)
    assert {path.name for path in made.folder.iterdir()} == {
        *(LENS_FILE, "curves.json", "manifest.json")
    }
    rates = [point["lr"] for point in read_curves(made).train]
    assert rates == pytest.approx([5e-4, 5e-4, 5e-4 * 0.95, 5e-4 * 0.95])
    loaded, settings = load_lens(Path(str(made.path(LENS_FILE))), open_foundation(foundation))
    assert settings.trunk.unlock_last == 1
    assert [n for n in loaded.trained_state() if n.startswith("trunk.blocks.2.")]


def test_two_workers_train_one_lens(tmp_path: Path, local_ray: None, tiny_lit: str) -> None:
    store = Store(UPath(tmp_path / "artifacts"))
    targets = synthetic.targets(store, {"train": (6, 6), "val": (3,)})
    foundation = synthetic.foundation(store, tiny_lit)
    runtime = _logged(quiet_runtime(tmp_path, train_workers=2), tmp_path)
    made = lens.run(runtime, CONFIG, TOWER, targets, foundation)
    curves = read_curves(made)
    _assert_told(tmp_path, curves)
    assert [point["step"] for point in curves.train] == [1, 2, 3, 4]
    assert [point.step for point in curves.val] == [2, 4]
    load_lens(Path(str(made.path(LENS_FILE))), open_foundation(foundation))


@pytest.mark.nightly
def test_a_loss_that_is_no_number_ends_two_workers_at_once(
    tmp_path: Path, local_ray: None, tiny_lit: str
) -> None:
    """The sample is named whichever worker met it, and Ray Train does not try again."""
    store = Store(UPath(tmp_path / "artifacts"))
    targets = synthetic.targets(store, {"train": (6,)}, synthetic.one_broken)
    foundation = synthetic.foundation(store, tiny_lit)
    runtime = quiet_runtime(tmp_path, train_workers=2)
    with pytest.raises(
        LossError, match=r"nan at step 0: .* targets of train004 are not finite$"
    ) as raised:
        lens.run(runtime, CONFIG, TOWER, targets, foundation)
    assert raised.value.__cause__ is None, "it came as a value, not as a failure to be mended"


def test_a_batch_that_does_not_divide_is_refused_before_any_work(
    tmp_path: Path, tiny_lit: str
) -> None:
    runtime = quiet_runtime(tmp_path, train_workers=4)
    targets = synthetic.targets(runtime.store, {"train": (6,)})
    foundation = synthetic.foundation(runtime.store, tiny_lit)
    with pytest.raises(ConfigError, match="batch_size 6 does not divide over 4 workers"):
        lens.run(runtime, CONFIG, TOWER, targets, foundation)
