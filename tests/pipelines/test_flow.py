"""The flow is what the steps declare: order, inputs, settings, and the pictures of it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipelines
from pipelines.config import RunConfig
from pipelines.execution.step import Step
from pipelines.flow import STEPS, settings_of, steps
from workflows.modalities import modality_names
from workflows.spec import load_workflow

FOLDERS = [module.name for module in pkgutil.iter_modules(pipelines.__path__) if module.ispkg]


def config() -> RunConfig:
    return load_workflow("point_cloud").config("tiny")


def test_every_folder_with_a_declaration_is_in_the_flow() -> None:
    root = Path(pipelines.__path__[0])
    declared = {folder for folder in FOLDERS if (root / folder / "step.py").exists()}
    assert declared == {step.name for step in STEPS} | {"execution"}  # which has the type


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_lives_in_the_folder_of_its_name(step: Step) -> None:
    declared = importlib.import_module(f"pipelines.{step.name}.step")
    assert declared.STEP is step
    assert step.description.endswith(".")
    assert step.writes
    assert step.promises


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_job_takes_what_its_step_declares(step: Step) -> None:
    """A job is called with its settings by position and its inputs by name."""
    job = importlib.import_module(f"pipelines.{step.name}.job").run
    parameters = inspect.signature(job).parameters
    for name in (*step.inputs, *step.optional_inputs):
        assert name in parameters
    count = len(settings_of(step, config()))
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) > count


@pytest.mark.parametrize("modality", modality_names())
def test_an_input_is_made_before_it_is_read(modality: str) -> None:
    made = {"shared"}
    for step in load_workflow(modality).steps:
        assert set(step.inputs) <= made, step.name
        made.add(step.name)


def test_two_ways_lead_into_a_flow_whose_modality_can_be_rendered() -> None:
    rendered, recorded = steps(), steps(renders=False, shares_foundation=True)
    assert [s.name for s in rendered][:4] == ["objects", "renders", "source", "shards"]
    assert [s.name for s in recorded][:2] == ["source", "shards"]
    inputs = {step.name: step.inputs for step in recorded}
    assert inputs["shards"] == ("source",)
    assert inputs["foundation"] == ("shards", "shared")


@pytest.mark.parametrize(
    ("profile", "stated", "shared"),
    [
        ("demo", (), True),
        ("demo", ("foundation.spec=open_clip:ViT-B-16/openai",), False),
        ("imagebind", (), False),
    ],
)
def test_movements_share_a_foundation_unless_they_state_a_published_one(
    profile: str, stated: tuple[str, ...], shared: bool
) -> None:
    workflow = load_workflow("imu")
    assert workflow.shares_foundation(workflow.config(profile, stated)) == shared


def test_the_picture_of_the_flow_names_every_step_and_who_makes_it() -> None:
    rows = {
        cells[0].strip(): cells[1].strip()
        for line in (pipelines.__doc__ or "").splitlines()
        if len(cells := line.strip("|").split("|")) == 3
    }
    assert {step.name: step.made_by for step in STEPS}.items() <= rows.items()


def test_the_order_of_the_steps_is_known_without_torch_and_ray() -> None:
    script = (
        "import sys, pipelines.flow\n"
        "print([m for m in ('torch', 'ray', 'mlflow', 'dagster') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
