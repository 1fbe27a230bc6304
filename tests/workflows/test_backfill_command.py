"""`vitlens backfill`: which pieces it builds, what it prints, and how a failure shows."""

from __future__ import annotations

import re

import dagster as dg
import pytest

from tests.workflows.stage import Stage
from vitlens_core.errors import TransientError
from workflows.exit_codes import FAILED, MISTAKE
from workflows.processes import history

TINY = ("backfill", "point_cloud", "--profile", "tiny")


def test_it_builds_the_chosen_pieces_and_says_how_to_finish(
    stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    result = stage.vitlens(*TINY, "--pieces", "2-3,64", "--set", "objects.count=9")

    assert result.exit_code == 0, result.output
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("piece")]
    assert [line.split()[1] for line in lines] == ["02-of-64", "03-of-64", "64-of-64"]
    assert all(re.search(r"1 shards built, 8 samples, 0 quarantined", line) for line in lines)
    assert stage.asked == ["objects", "renders", "shards"] * 3
    again = "vitlens run point_cloud --profile tiny --set objects.count=9"
    assert result.output.splitlines()[-1].endswith(again)
    with history(stage.workplace.home) as instance:
        runs = instance.get_runs(dg.RunsFilter(job_name="point_cloud_pieces"))
    assert {run.tags["dagster/partition"] for run in runs} == {"02-of-64", "03-of-64", "64-of-64"}


def test_a_failure_is_one(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    stage.failure = ("renders", TransientError("the mirror is away"))
    result = stage.vitlens(*TINY, "--pieces", "1-4")

    assert result.exit_code == FAILED
    assert "the mirror is away" in result.output
    assert "finish with" not in result.output
    assert "01-of-64   failed" in capfd.readouterr().err
    assert stage.asked == ["objects", "renders"], "the other pieces would fail the same way"
    with history(stage.workplace.home) as instance:
        [run] = instance.get_runs(dg.RunsFilter(job_name="point_cloud_pieces"))
    assert run.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("chosen", ["0", "65", "4-2", "a", "1-", ""])
def test_a_piece_that_does_not_exist_is_refused(stage: Stage, chosen: str) -> None:
    result = stage.vitlens(*TINY, "--pieces", chosen)
    assert (result.exit_code, "--pieces" in result.output) == (MISTAKE, True)
    assert not stage.asked


def test_a_data_set_that_is_not_here_is_said_before_anything_starts(stage: Stage) -> None:
    result = stage.vitlens("backfill", "thermal")
    assert result.exit_code == MISTAKE
    assert "no folder /data/LLVIP" in result.output
    assert not (stage.home / "logs").exists()
