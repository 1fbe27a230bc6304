"""sanity: checks that a registered lens works for its consumers.

Reads     the registered model through MLflow, in a process of its own that starts in an empty
          folder, with pickle forbidden.
Promises  the lens loads and embeds; embeddings are finite, of unit norm, the same twice, and the
          same alone as in a batch; latency and memory are within the budget of the settings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.registry import models
from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier
from pipelines.registry.settings import SanityConfig
from vitlens_core.scratch import Scratch

_CHILD = Path(__file__).with_name("_sanity_child.py")
_LARGEST_NORM_ERROR = 1e-3
_WITHOUT_WEIGHTS_MB = 4096  # a process with torch and MLflow, and one input's activations
_COPIES = 3  # of the weights while they are loaded: as read, as converted, in the module
_SHOWN = 300  # characters shown of the child's last line of output


@dataclass(frozen=True)
class Measured:
    """What the child process measured; differences are the largest of an embedding's entries."""

    load_s: float
    finite: bool
    norm_error: float
    repeat_difference: float
    batch_difference: float
    latency_ms: float
    memory_mb: float
    weights_mb: float


class Sanity(SanityConfig, Gate):
    """Loads the registered model as a consumer would."""

    kind: Literal["sanity"] = "sanity"

    @property
    def tier(self) -> Tier:
        return "sanity"

    def check(self, context: GateContext) -> GateResult:
        return self.check_package(models.download(context.challenger.uri, context.home))

    def check_package(self, folder: Path) -> GateResult:
        """Load the model of a folder in a child process, and check its measurements."""
        try:
            return self.judge(_measured(folder, self))
        except _DiedError as error:
            return self._result([str(error)], "")

    def judge(self, measured: Measured) -> GateResult:
        """Check what was measured of a loaded model."""
        return self._result(
            list(self._wrong(measured)),
            f"loads in {measured.load_s:.1f} s in a fresh process; embeddings finite, of unit "
            f"norm, repeatable; {measured.latency_ms:.0f} ms per input, "
            f"{measured.memory_mb:.0f} MB",
        )

    def _wrong(self, measured: Measured) -> Iterator[str]:
        """Yield what is wrong, for a consumer."""
        if not measured.finite:
            yield "an embedding is not finite"
        if not measured.norm_error <= _LARGEST_NORM_ERROR:  # `not <=` is also true for NaN
            yield f"norms differ from 1 by {measured.norm_error:.2g}"
        if measured.repeat_difference != 0:
            yield "the same input gives another embedding each time"
        if not measured.batch_difference <= self.tolerance:
            yield f"embeddings alone and in a batch differ by {measured.batch_difference:.2g}"
        if measured.latency_ms > self.max_latency_ms:
            yield f"{measured.latency_ms:.0f} ms per input, budget {self.max_latency_ms:.0f} ms"
        budget_mb = self.max_memory_mb or _WITHOUT_WEIGHTS_MB + _COPIES * measured.weights_mb
        if measured.memory_mb > budget_mb:
            yield f"{measured.memory_mb:.0f} MB, budget {budget_mb:.0f} MB"

    def _result(self, wrong: list[str], described: str) -> GateResult:
        reason = "; ".join(wrong) or described
        return self.result(not wrong, reason, metric="what is wrong", value=len(wrong), threshold=0)


class _DiedError(Exception):
    """The consumer's process ended without an answer."""


def _measured(model_folder: Path, config: SanityConfig) -> Measured:
    # -P: by default Python puts the script's folder on the import path, and with it our modules.
    command = [sys.executable, "-P", str(_CHILD), str(model_folder), str(config.repeats)]
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    with Scratch("sanity") as folder:
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
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))
