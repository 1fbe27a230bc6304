"""The report of `make gpu`: what it says of parts that fail, that take too long, and of figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import gpu
from tests.benchmarks.check_device import Found, draws, knn, losses


def _check(name: str, difference: float | None, *, passed: bool) -> dict[str, object]:
    return {
        "check": name,
        "difference": difference,
        "allowed": 0.1,
        "note": "",
        "passed": passed,
    }


def test_a_part_that_takes_too_long_is_ended_and_the_rest_is_left_out(tmp_path: Path) -> None:
    parts = (gpu.Part("slow", "machine", limit_s=0.2), gpu.Part("next", "machine"))
    made = gpu.measure(parts, tmp_path, deadline_s=5.1)
    assert made["slow"]["error"] == "not done after 0 s"
    assert made["next"]["error"] == "left out, as the time was up"
    assert json.loads((tmp_path / "gpu.json").read_text()) == made
    assert len(gpu.failures(made)) == 2


@pytest.mark.nightly
def test_a_part_that_fails_says_why() -> None:
    found = gpu.run(gpu.Part("wrong", "bench_training", ("--size", "huge")), 60)
    assert "invalid choice: 'huge'" in found["error"]


def test_the_table_has_figures_checks_and_the_loader_against_the_step() -> None:
    made = {
        "checks": {"found": [_check("one", 0.0, passed=True), _check("two", 0.5, passed=False)]},
        "training L/14": {"found": {"step_s": 0.1, "samples_per_s": 640.0}},
        "loader": {"found": {"loaded_samples_per_s": 16_000.0}},
    }
    table = gpu.markdown(made)
    assert gpu.failures(made) == ["two"]
    assert table.startswith("- **FAILED** two\n")
    assert "| training L/14: samples loaded by one thread / samples trained | 25.0 |" in table
    assert "| two | 0.5 | 0.1 | **FAILED**  |" in table


@pytest.mark.parametrize("check", [draws, knn, losses])
def test_checks_pass_where_the_device_is_the_cpu(check) -> None:
    found = list(check())
    assert found
    assert all(one.passed for one in found)


def test_a_difference_beyond_what_is_allowed_fails() -> None:
    assert not Found("x", 0.2, 0.1).passed
    assert not Found("x", float("nan"), 0.1).passed
