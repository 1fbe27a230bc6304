"""What Dagster's UI shows of an evaluation."""

from __future__ import annotations

from tests.workflows.stage import metrics
from workflows.metadata import results_table


def test_results_of_recordings_without_images_lack_the_ceiling_alone() -> None:
    whole = metrics(0.5, {"image": 1.0, "text": 1.0})
    table = results_table(whole)
    without = results_table({k: v for k, v in whole.items() if not k.startswith("foundation")})
    lost = [line for line in table.splitlines() if line not in without.splitlines()]
    assert [line.split("|")[1].strip() for line in lost] == ["foundation"]
    assert "| lens | 0.500 (0.50–0.50)" in without
