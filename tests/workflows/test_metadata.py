"""What Dagster's UI shows of an evaluation."""

from __future__ import annotations

from tests.workflows.stage import evaluation
from workflows.metadata import results_table


def test_results_of_recordings_without_images_lack_the_ceiling_alone() -> None:
    whole = evaluation(0.5, {"image": 1.0, "text": 1.0})
    table = results_table(whole)
    without = results_table(whole.model_copy(update={"foundation_image_zero_shot": None}))
    lost = [line for line in table.splitlines() if line not in without.splitlines()]
    assert [line.split("|")[1].strip() for line in lost] == ["foundation, on images"]
    assert "| lens | 0.500 (0.50–0.50)" in without
