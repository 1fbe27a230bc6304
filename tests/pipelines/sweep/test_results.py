"""What `sweep.json` states of points made, failed, and validated in different ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.evaluation.result import read_result
from pipelines.report.content import encode_readable
from pipelines.sweep import runs
from pipelines.sweep.results import RESULTS_FILE, MadePoint, SweepResults, Validation
from tests.pipelines.sweep.made_up import TRAINED, VALIDATED, config, failed, point, sweep
from vitlens_core.metrics import Interval


def test_a_point_stands_with_what_chooses_it_and_what_it_is_worth(tmp_path: Path) -> None:
    results = SweepResults.of(sweep(point(tmp_path, "a", 0.5, 0.25, steps=6, batch_size=4)))
    [found] = results.made
    assert found.validation == Validation(r1=0.25, loss=1, against="image", n=VALIDATED)
    assert found.zero_shot.top1 == Interval(0.5, 0.4, 0.6)
    assert (found.training.steps, found.training.batch_size) == (6, 4)
    assert found.training.epochs == pytest.approx(6 * 4 / TRAINED)
    assert (found.is_profile, found.emergent, found.failure) == (True, False, None)
    assert results.overrides == ("evaluation.seed=3",)


def test_epochs_are_through_the_share_that_is_trained_on(tmp_path: Path) -> None:
    few = point(tmp_path, "a", 0.5, 0.25, steps=6, batch_size=4, share=0.5)
    [found] = SweepResults.of(sweep(few)).made
    assert found.training.epochs == pytest.approx(2 * 6 * 4 / TRAINED)


def test_trainings_of_one_seed_are_compared_whatever_else_their_points_set(tmp_path: Path) -> None:
    tops = {"plain": (0.25, 0.5), "random": (1 / 3, 7 / 12)}  # of 12 samples
    made = []
    for value, of_value in tops.items():
        for seed, top1 in enumerate(of_value):
            one = point(tmp_path, f"{value}, seed {seed}", top1, 0.25, seed=seed)
            overrides = (f"lens.train.seed={seed}", f"lens.trunk.random={seed}")
            made.append(replace(one, value=value, overrides=overrides[: 1 + (value == "random")]))
    _, other = SweepResults.of(sweep(*made)).over_seeds
    assert other.difference is not None
    assert other.difference.value == pytest.approx(1 / 12)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    swept = sweep(
        point(tmp_path, "a", 0.5, 0.25), point(tmp_path, "b", 1.0, None), failed("c", "x")
    )
    results = SweepResults.of(swept)
    (tmp_path / RESULTS_FILE).write_bytes(encode_readable(results))
    assert SweepResults.read(tmp_path) == results
    stated = json.loads((tmp_path / RESULTS_FILE).read_text())
    assert stated["points"][0]["zero_shot"]["ci95"]["top1"] == [0.4, 0.6]
    assert stated["points"][2] == {
        "label": "c",
        "value": "",
        "overrides": [],
        "is_profile": False,
        "failure": "x",
        "validation": None,
    }


def test_the_sweep_names_the_target_that_training_validated_against(tmp_path: Path) -> None:
    """With text and a teacher that is text, though `teacher_a` is the first of the sorted keys."""
    swept = sweep(point(tmp_path, "a", 0.5, 0.5, ["a"], image_weight=0))
    results = SweepResults.of(swept)
    [found] = results.made
    assert found.validation is not None
    assert found.validation.against == "text"
    assert runs.table(results)["validated against"] == ["text"]
    supervision = read_result(swept.points[0].artifacts["evaluation"]).supervision
    assert supervision.kinds == ("text", "teacher_a")


def test_validation_chooses_whatever_the_held_out_figures_say(tmp_path: Path) -> None:
    points = [point(tmp_path, "a", 1.0, 0.25), point(tmp_path, "b", 0.25, 0.75)]
    assert SweepResults.of(sweep(*points)).best_on_validation == ("b",)


def test_points_that_are_equally_good_are_all_named(tmp_path: Path) -> None:
    points = [point(tmp_path, label, 0.5, r1) for label, r1 in (("a", 0.5), ("b", 0), ("c", 0.5))]
    assert SweepResults.of(sweep(*points)).best_on_validation == ("a", "c")


def test_figures_of_different_kinds_choose_nothing(tmp_path: Path) -> None:
    points = [point(tmp_path, "a", 0.5, 0.5), point(tmp_path, "b", 0.5, 0.75, image_weight=0)]
    results = SweepResults.of(sweep(*points))
    against = [point.validation.against for point in results.made if point.validation]
    assert against == ["image", "text"]
    assert results.best_on_validation == ()


def test_without_validation_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    points = [point(tmp_path, label, 0.5, None) for label in "ab"]
    results = SweepResults.of(sweep(*points))
    assert [found.validation for found in results.made] == [None, None]
    assert results.best_on_validation == ()


def test_a_lens_that_never_saw_text_is_classified_emergently(tmp_path: Path) -> None:
    points = [point(tmp_path, "a", 0.5, 0.5), point(tmp_path, "b", 0.5, 0.5, text_weight=0)]
    assert [found.emergent for found in SweepResults.of(sweep(*points)).made] == [False, True]


def test_a_failed_point_keeps_its_line_and_its_reason(tmp_path: Path) -> None:
    results = SweepResults.of(sweep(failed("b", "no weights"), point(tmp_path, "a", 0.5, 0.5)))
    assert [found.failure for found in results.points] == ["no weights", None]
    assert results.best_on_validation == ("a",)


def test_a_sweep_in_which_all_failed_can_be_told() -> None:
    results = SweepResults.of(sweep(failed("a", "no weights"), failed("b", "no disk")))
    assert results.best_on_validation == ()
    assert not any(isinstance(found, MadePoint) for found in results.points)


def test_identity_is_what_is_compared_and_not_where_it_ran() -> None:
    one = sweep(failed("a", ""))
    assert sweep(failed("a", "it broke")).fingerprint == one.fingerprint
    resources = config().resources.model_copy(update={"cpus": 77})
    elsewhere = replace(
        failed("a", ""), config=config().model_copy(update={"resources": resources})
    )
    assert sweep(elsewhere).fingerprint == one.fingerprint
    longer = replace(failed("a", ""), config=config(steps=7))
    assert sweep(longer).fingerprint != one.fingerprint
    assert sweep(failed("b", "")).fingerprint != one.fingerprint
    assert sweep(failed("a", ""), axis="trunk").fingerprint != one.fingerprint
