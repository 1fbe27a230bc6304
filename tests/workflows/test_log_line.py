"""However a run ends, its last lines name the log."""

from __future__ import annotations

import pytest

from tests.workflows.stage import Stage
from vitlens_core.errors import TransientError
from workflows.exit_codes import FAILED, GATE_FAILED, INTERRUPTED

COMMANDS = {
    "run": ("run", "point_cloud", "--profile", "tiny"),
    "sweep": (
        "sweep",
        "point_cloud",
        "--profile",
        "tiny",
        "--axis",
        "head",
        "--values",
        "linear,mlp",
    ),
    "backfill": ("backfill", "point_cloud", "--profile", "tiny", "--pieces", "1"),
}
LAST_LINES = 3  # what to do next may stand behind it
ENDS: dict[str, tuple[BaseException | None, int]] = {
    "success": (None, 0),
    "a message of ours": (TransientError("the mirror is away"), FAILED),
    "a fault": (ZeroDivisionError("of none"), FAILED),
    "Ctrl-C": (KeyboardInterrupt(), INTERRUPTED),
}


def names_its_log(stage: Stage, output: str) -> bool:
    [log] = (stage.home / "logs").glob("*.log")
    return f"log    {log}" in output.splitlines()[-LAST_LINES:]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("end", ENDS)
def test_the_log_is_named(stage: Stage, command: str, end: str) -> None:
    error, code = ENDS[end]
    stage.failure = ("shards", error) if error else None
    result = stage.vitlens(*COMMANDS[command])
    assert result.exit_code == code, result.output
    assert names_its_log(stage, result.output), result.output


def test_the_log_is_named_where_a_gate_failed(stage: Stage) -> None:
    stage.top1 = 0.5
    result = stage.vitlens(*COMMANDS["run"], "--set", "gates.times_chance.min=8")
    assert result.exit_code == GATE_FAILED
    assert names_its_log(stage, result.output)
