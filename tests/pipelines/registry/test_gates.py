"""Gates: thresholds, figures by path, and what fails."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.registry.gates.base import GateResult
from pipelines.registry.gates.threshold import Threshold
from tests.pipelines.finished_run import evaluation, predictions, samples
from vitlens_core.errors import ConfigError

FIGURES = evaluation(predictions(samples(), right=0.5)).figures()
numbers = st.floats(allow_nan=False, allow_infinity=False)


def hold(value: float, **bound: float) -> GateResult:
    gate = Threshold.model_validate({"name": "gate", "metric": "figure", **bound})
    return gate.compare({"figure": value})


@given(value=numbers, threshold=numbers)
def test_min_and_max_are_inclusive_and_opposite(value: float, threshold: float) -> None:
    assert hold(value, min=threshold).passed == (value >= threshold)
    assert hold(value, max=threshold).passed == (value <= threshold)
    assert hold(threshold, min=threshold).passed
    assert hold(threshold, max=threshold).passed


@given(threshold=numbers, value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_figure_that_is_not_finite_fails(threshold: float, value: float) -> None:
    assert not hold(value, min=threshold).passed
    assert not hold(value, max=threshold).passed


def test_the_reason_states_figure_value_and_threshold() -> None:
    assert hold(0.25, min=0.5).reason == "figure is 0.25, but must be at least 0.5"
    assert hold(0.25, max=0.5).reason == "figure is 0.25, at most 0.5 as asked"


def test_a_result_is_json() -> None:
    assert json.loads(hold(0.25, min=0.5).model_dump_json())["threshold"] == 0.5


@pytest.mark.parametrize("metric", ["zero_shot.top2", "zero_shot", "modality", "confusion"])
def test_what_is_no_figure_is_refused_with_those_that_are(metric: str) -> None:
    with pytest.raises(ConfigError, match=r"'accuracy'.*zero_shot\.ci95\.top1\.low"):
        Threshold(name="accuracy", metric=metric, min=0.1).compare(FIGURES)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min": 0.1, "max": 0.2},
        {"min": math.nan},
        {"min": 0.1, "maximum": 0.2},
        {"min": 0.1, "name": "not a name!"},
    ],
)
def test_a_gate_has_one_finite_bound_and_a_plain_name(settings: dict) -> None:
    with pytest.raises(ValidationError):
        Threshold.model_validate({"name": "gate", "metric": "figure", **settings})
