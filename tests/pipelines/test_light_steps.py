"""A run of a finished home looks its artifacts up without the packages that make them.

Each takes seconds to import: torch, timm, Ray and its Train, open_clip, transformers.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HEAVY = """
import sys
HEAVY = {"torch", "timm", "ray", "open_clip", "transformers"}
def require_light(after):
    assert not HEAVY & set(sys.modules), (after, HEAVY & set(sys.modules))
"""
JOBS = """
import importlib
from pipelines.flow import STEP_NAMES
for name in STEP_NAMES:
    importlib.import_module(f"pipelines.{name}.job")
    require_light(name)
"""
CHECKS = """
from workflows.preflight import check
from workflows.modalities import modality_names
from workflows.spec import load_workflow
for modality in ("point_cloud", "depth"):
    check(load_workflow(modality), "demo", ())
    require_light(modality)
"""
LOOKED_UP = """
from pathlib import Path
from upath import UPath
from pipelines import flow
from pipelines.execution.runtime import Resources, Runtime
from pipelines.store.artifact_store import FinishedStore, NotMadeError, Store
from pipelines.store.home import Home
from workflows.spec import load_workflow

home = Path(sys.argv[1])
store, config = Store(UPath(home / "artifacts")), load_workflow("point_cloud").config("tiny")
runtime = Runtime(FinishedStore(store.root), config.resources, home=Home(home))
made = {name: store.begin(name, 0, {}, {}).commit([], {}) for name in flow.STEP_NAMES}
for step in flow.steps():
    if step.name in flow.left_out(config) or step.name == "benchmarks":
        continue
    inputs = {name: made[name] for name in step.inputs if name not in flow.left_out(config)}
    try:
        step.run(runtime, config, inputs)
    except NotMadeError as looked:
        assert looked.identity["step"] == step.name
    else:
        raise AssertionError(f"{step.name} was not looked up")
    require_light(step.name)
"""


@pytest.mark.parametrize("code", [JOBS, CHECKS, LOOKED_UP], ids=["jobs", "checks", "lookups"])
def test_a_finished_home_is_read_without_what_makes_it(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HEAVY + code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
