"""What a consumer would complain of; that a real model is loaded is tested in `test_acceptance`."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.registry import gates
from pipelines.registry.gates.sanity import Measured, Sanity

GOOD = Measured(
    load_s=3.0,
    finite=True,
    norm_error=1e-7,
    repeat_difference=0.0,
    batch_difference=1e-7,
    latency_ms=5.0,
    memory_mb=900.0,
    weights_mb=200.0,
)
GATE = Sanity(name="sanity", max_latency_ms=50, max_memory_mb=1000)


def test_a_good_model_passes_and_the_reason_states_what_was_measured() -> None:
    found = GATE.judge(GOOD)
    assert found.passed
    assert found.reason.startswith("loads in 3.0 s in a fresh process")
    assert found.reason.endswith("5 ms per input, 900 MB")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"finite": False}, "an embedding is not finite"),
        ({"norm_error": 0.01}, "norms differ from 1 by 0.01"),
        ({"norm_error": math.nan}, "norms differ from 1 by nan"),
        ({"repeat_difference": 1e-9}, "the same input gives another embedding each time"),
        ({"batch_difference": 0.1}, "embeddings alone and in a batch differ by 0.1"),
        ({"latency_ms": 51.0}, "51 ms per input, budget 50 ms"),
        ({"memory_mb": 1001.0}, "1001 MB, budget 1000 MB"),
    ],
)
def test_each_fault_is_named(change: dict[str, float], reason: str) -> None:
    found = GATE.judge(replace(GOOD, **change))
    assert (found.passed, found.value) == (False, 1)
    assert found.reason == reason


def test_a_budget_that_is_not_stated_grows_with_the_weights() -> None:
    """The towers of ViT-bigG take 10 GB of fp32, which no consumer can do without."""
    gate = Sanity(name="sanity")
    assert gate.judge(replace(GOOD, memory_mb=20_000.0, weights_mb=10_000.0)).passed
    found = gate.judge(replace(GOOD, memory_mb=20_000.0, weights_mb=500.0))
    assert found.reason == "20000 MB, budget 5596 MB"


def test_every_fault_is_named_at_once() -> None:
    found = GATE.judge(replace(GOOD, finite=False, latency_ms=60.0))
    assert found.value == 2
    assert found.reason == "an embedding is not finite; 60 ms per input, budget 50 ms"


def test_a_model_that_takes_too_long_to_load_is_given_up(tmp_path: Path) -> None:
    found = Sanity(name="sanity", timeout_s=0.1).check_package(tmp_path)
    assert not found.passed
    assert found.reason == "did not load and embed within 0 s"


def test_memory_is_that_of_the_consumer_and_not_of_the_process_that_started_it() -> None:
    """A run that holds data must not fail its model for it."""
    script = (Path(gates.__file__).parent / "_sanity_child.py").read_text()
    (measure,) = [n for n in ast.parse(script).body if getattr(n, "name", "") == "peak_memory_mb"]
    child = f"from pathlib import Path\n{ast.unparse(measure)}\nprint(peak_memory_mb())"
    held = b"\1" * 300_000_000
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert float(done.stdout) < len(held) / 1e6 / 3
