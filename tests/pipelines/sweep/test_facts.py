"""What `sweep.json` states of points made, failed, and validated in different ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.sweep.facts import collect
from tests.pipelines.sweep.made_up import TRAINED, VALIDATED, config, failed, point, sweep


def test_a_point_stands_with_what_chooses_it_and_what_it_is_worth(tmp_path: Path) -> None:
    facts = collect(sweep(point(tmp_path, "a", 0.5, 0.25, steps=6, batch_size=4)))
    [found] = facts["points"]
    assert found["validation"] == {"r1": 0.25, "loss": 1, "against": "image", "n": VALIDATED}
    assert found["zero_shot"]["top1"] == 0.5
    assert found["zero_shot"]["ci95"]["top1"] == [0.4, 0.6]
    assert found["training"].items() >= {"steps": 6, "batch_size": 4}.items()
    assert found["training"]["epochs"] == pytest.approx(6 * 4 / TRAINED)
    assert (found["is_profile"], found["emergent"], found["failure"]) == (True, False, None)
    assert facts["overrides"] == ["evaluation.seed=3"]
    json.dumps(facts, allow_nan=False)


def test_validation_chooses_whatever_the_held_out_figures_say(tmp_path: Path) -> None:
    points = [point(tmp_path, "a", 1.0, 0.25), point(tmp_path, "b", 0.25, 0.75)]
    assert collect(sweep(*points))["best_on_validation"] == ["b"]


def test_points_that_are_equally_good_are_all_named(tmp_path: Path) -> None:
    points = [point(tmp_path, label, 0.5, r1) for label, r1 in (("a", 0.5), ("b", 0), ("c", 0.5))]
    assert collect(sweep(*points))["best_on_validation"] == ["a", "c"]


def test_figures_of_different_kinds_choose_nothing(tmp_path: Path) -> None:
    points = [point(tmp_path, "a", 0.5, 0.5), point(tmp_path, "b", 0.5, 0.75, image_weight=0)]
    facts = collect(sweep(*points))
    assert [p["validation"]["against"] for p in facts["points"]] == ["image", "text"]
    assert facts["best_on_validation"] == []


def test_without_validation_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    facts = collect(sweep(point(tmp_path, "a", 0.5, None), point(tmp_path, "b", 0.5, None)))
    assert [p["validation"] for p in facts["points"]] == [None, None]
    assert facts["best_on_validation"] == []


def test_a_lens_that_never_saw_text_is_classified_emergently(tmp_path: Path) -> None:
    points = [point(tmp_path, "a", 0.5, 0.5), point(tmp_path, "b", 0.5, 0.5, text_weight=0)]
    assert [p["emergent"] for p in collect(sweep(*points))["points"]] == [False, True]


def test_a_failed_point_keeps_its_line_and_its_reason(tmp_path: Path) -> None:
    facts = collect(sweep(failed("b", "no weights"), point(tmp_path, "a", 0.5, 0.5)))
    assert [p["failure"] for p in facts["points"]] == ["no weights", None]
    assert facts["best_on_validation"] == ["a"]


def test_a_sweep_in_which_all_failed_can_be_told() -> None:
    facts = collect(sweep(failed("a", "no weights"), failed("b", "no disk")))
    assert facts["best_on_validation"] == []
    assert [p["validation"] for p in facts["points"]] == [None, None]


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
