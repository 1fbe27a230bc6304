"""What training measured on its way, and against which targets."""

from __future__ import annotations

import json
from itertools import permutations

import pytest

from pipelines.lens.curves import TrainingCurves, ValidationPoint, validation_kind
from pipelines.store.shards import encode_model


def test_curves_come_back_as_they_were() -> None:
    stated = {
        "train": [{"step": 1, "loss": 1.5, "loss_text": 1.5, "lr": 1e-05}],
        "val": [{"step": 1, "loss": 0.1, "r1": 0.30000000000000004}],
        "validated_against": "text",
    }
    curves = TrainingCurves.model_validate_json(json.dumps(stated))
    assert encode_model(curves) == json.dumps(stated, sort_keys=True).encode()
    assert curves.val == (ValidationPoint(step=1, loss=0.1, r1=0.30000000000000004),)


@pytest.mark.parametrize(
    ("kinds", "against"),
    [
        (("image", "text", "teacher_a"), "image"),
        (("text", "teacher_a"), "text"),
        (("image", "teacher_a"), "image"),
        (("teacher_a",), "teacher_a"),
    ],
)
def test_the_order_of_preference_is_stated_and_not_that_of_a_dictionary(
    kinds: tuple[str, ...], against: str
) -> None:
    for order in permutations(kinds):
        assert validation_kind(dict.fromkeys(order, 1.0)) == against
