"""What an evaluation states: the same JSON as ever, and types that give it back unchanged."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.result import (
    Calibration,
    EvaluationResult,
    Prediction,
    Predictions,
    Recalls,
    Scores,
    Supervision,
    read_result,
)
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import IntegrityError
from vitlens_core.metrics import Interval

SCORES = {
    "top1": 0.5,
    "top3": 0.75,
    "top5": 1.0,
    "class_mean": 0.25,
    "chance": 0.125,
    "n": 8,
    "groups": 8,
    "ci95": {
        "top1": [0.25, 0.75],
        "top3": [0.5, 1.0],
        "top5": [1.0, 1.0],
        "class_mean": [0.0, 0.5],
    },
}
RECALLS = {
    "r1": 0.1,
    "r5": 0.2,
    "r10": 0.30000000000000004,
    "ci95": {"r1": [0.0, 0.2], "r5": [0.1, 0.3], "r10": [0.2, 0.4]},
}
CALIBRATION = {
    "temperature": 0.07,
    "fitted_on": "val",
    "n": 25,
    "classes": 2,
    "trained_with": 0.05,
    "ece": 0.125,
    "ece_before": 0.25,
    "ci95": {"ece": [0.1, 0.2], "ece_before": [0.2, 0.3]},
}
BARE = {
    "modality": "imu",
    "split": "test",
    "classes": ["a", "b"],
    "zero_shot": SCORES,
    "times_chance": 4.0,
    "retrieval": {},
    "supervision": {"teacher_depth": 1.0},
    "emergent": True,
    "confusion": [[3, 1], [0, 4]],
}
WHOLE = {
    **BARE,
    "retrieval": {"imu_to_text": RECALLS, "imu_to_image": RECALLS},
    "supervision": {"image": 1.0, "text": 0.5, "teacher_depth": 2.0},
    "emergent": False,
    "teacher_zero_shot": {"depth": SCORES},
    "foundation_image_zero_shot": SCORES,
    "ratio_to_foundation": 1.0,
    "calibration": CALIBRATION,
}
shares = st.floats(0, 1)
intervals = st.builds(Interval, shares, shares, shares)
recalls = st.builds(Recalls, r1=intervals, r5=intervals, r10=intervals)


@pytest.mark.parametrize("stated", [BARE, WHOLE], ids=["bare", "whole"])
def test_the_json_is_what_it_was_and_comes_back_as_it_was(stated: dict) -> None:
    result = EvaluationResult.model_validate_json(json.dumps(stated))
    data = encode_model(result)
    assert json.loads(data) == stated
    assert data == json.dumps(stated, sort_keys=True).encode()  # to the last digit
    assert EvaluationResult.model_validate_json(data) == result


def test_a_figure_and_its_bounds_are_one_interval() -> None:
    result = EvaluationResult.model_validate(WHOLE)
    assert result.zero_shot.top1 == Interval(0.5, 0.25, 0.75)
    assert result.retrieval["imu_to_text"].r10 == Interval(0.30000000000000004, 0.2, 0.4)
    assert result.calibration is not None
    assert result.calibration.ece_before == Interval(0.25, 0.2, 0.3)


def test_gates_and_registry_address_every_figure_by_its_path() -> None:
    figures = EvaluationResult.model_validate(WHOLE).figures()
    assert figures["zero_shot.top1"] == 0.5
    assert figures["zero_shot.ci95.top1.low"] == 0.25
    assert figures["zero_shot.ci95.top1.high"] == 0.75
    assert figures["foundation_image_zero_shot.n"] == 8
    assert figures["times_chance"] == 4
    assert figures["ratio_to_foundation"] == 1
    assert figures["retrieval.imu_to_text.r1"] == 0.1
    assert figures["calibration.ece"] == 0.125
    assert figures["supervision.text"] == 0.5
    assert not [name for name in figures if name.startswith(("classes", "confusion", "emergent"))]
    assert set(EvaluationResult.model_validate(BARE).figures()) < set(figures)


@pytest.mark.parametrize("order", [*permutations(["image", "text", "teacher_a", "teacher_b"])])
def test_kinds_of_targets_have_their_order_whatever_that_of_the_file(order: tuple) -> None:
    supervision = Supervision.model_validate_json(json.dumps(dict.fromkeys(order, 1.0)))
    assert supervision.kinds == ("image", "text", "teacher_a", "teacher_b")


@given(
    top=st.tuples(intervals, intervals, intervals, intervals),
    n=st.integers(1, 10**6),
    found=st.dictionaries(st.sampled_from(["a_to_text", "a_to_image"]), recalls),
)
def test_no_digit_is_lost(top: tuple[Interval, ...], n: int, found: dict[str, Recalls]) -> None:
    names = ("top1", "top3", "top5", "class_mean")
    scores = Scores(**dict(zip(names, top, strict=True)), chance=1 / n, n=n, groups=n)
    result = EvaluationResult.model_validate(WHOLE).model_copy(
        update={"zero_shot": scores, "retrieval": found}
    )
    assert EvaluationResult.model_validate_json(encode_model(result)) == result


def test_predictions_come_back_as_they_were() -> None:
    stated = {
        "key": "k",
        "group": "g",
        "name": "A chair",
        "label": "chair",
        "correct": False,
        "predicted": ["lamp", "chair"],
        "scores": [0.25, 0.125],
        "neighbours": ["k", "l"],
    }
    predictions = Predictions((Prediction.model_validate(stated),))
    assert json.loads(encode_model(predictions)) == [stated]
    assert Predictions.model_validate_json(encode_model(predictions)) == predictions


def test_a_calibration_comes_back_as_it_was() -> None:
    calibration = Calibration.model_validate(CALIBRATION)
    assert json.loads(encode_model(calibration)) == CALIBRATION
    assert Calibration.model_validate_json(encode_model(calibration)) == calibration


def test_a_file_of_another_content_is_refused_by_name(tmp_path: Path) -> None:
    build = quiet_runtime(tmp_path).store.begin("evaluation", 1, {}, {})
    file = write_atomic(build.folder / "metrics.json", json.dumps({"accuracy": 1}).encode())
    with pytest.raises(
        IntegrityError, match=r"metrics\.json differs from what this release writes .* run again"
    ):
        read_result(build.commit([file], {}))
