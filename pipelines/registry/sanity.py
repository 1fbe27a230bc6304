"""sanity: whether a registered lens works for whoever loads it (tier 0 of staging).

Reads     the registered model, through MLflow, in a process of its own, from an empty folder,
          with pickle forbidden.
Promises  loads, embeds, and what comes out is finite, of unit norm, the same twice and the same
          alone as in a batch; latency and memory lie within the budget that YAML states.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.registry.gates import GateResult
from pipelines.registry.settings import SanityConfig

_CHILD = Path(__file__).with_name("sanity_child.py")


NAME = "sanity"


_SHOWN = 300


def hold(model_folder: Path, config: SanityConfig) -> GateResult:
    """Load a model's folder as a consumer would, and say in a sentence what was found."""
    try:
        found = _measured(model_folder, config)
    except _DiedError as error:
        return _result([str(error)], "")
    wrong = [
        said
        for holds, said in (
            (found["finite"], "an embedding is not finite"),
            (found["norm_error"] <= 1e-3, f"norms differ from 1 by {found['norm_error']:.2g}"),
            (found["repeat_difference"] == 0, "the same input gives another embedding each time"),
            (
                found["batch_difference"] <= config.tolerance,
                f"alone and in a batch differ by {found['batch_difference']:.2g}",
            ),
            (
                found["latency_ms"] <= config.max_latency_ms,
                f"{found['latency_ms']:.0f} ms an input, budget {config.max_latency_ms:.0f}",
            ),
            (
                found["memory_mb"] <= config.max_memory_mb,
                f"{found['memory_mb']:.0f} MB, budget {config.max_memory_mb:.0f}",
            ),
        )
        if not holds
    ]
    described = (
        f"loads in {found['load_s']:.1f} s in a fresh process; embeddings finite, of unit norm, "
        f"repeatable; {found['latency_ms']:.0f} ms an input, {found['memory_mb']:.0f} MB"
    )
    return _result(wrong, described)


def skipped() -> GateResult:
    """The gate where it is switched off."""
    found = _result([], "switched off: acceptance.sanity is null")
    return found.model_copy(update={"skipped": True})


def _result(wrong: list[str], described: str) -> GateResult:
    return GateResult(
        name=NAME,
        tier="sanity",
        metric="what is wrong",
        threshold=0,
        value=len(wrong),
        passed=not wrong,
        reason="; ".join(wrong) or described,
    )


class _DiedError(Exception):
    """The consumer's process ended without an answer."""


def _measured(model_folder: Path, config: SanityConfig) -> dict:
    # -P: else the folder of the script, and so our modules, could be imported by their names.
    command = [sys.executable, "-P", str(_CHILD), str(model_folder), str(config.repeats)]
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    with tempfile.TemporaryDirectory(prefix="vitlens-sanity-") as folder:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=config.timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise _DiedError(f"did not load and embed within {config.timeout_s:.0f} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise _DiedError(f"does not load in a fresh process: {lines[-1][:_SHOWN]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
