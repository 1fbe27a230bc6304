"""What jobs and workflows promise every modality that has a lens."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.report.pictures import draw_signal, signal_file
from pipelines.store.shards import encode_array
from tests.contracts.examples import example, raws
from vitlens_core import modalities
from workflows.modalities import modality_names
from workflows.spec import load_workflow

LENSED = modalities.lensed()
lensed = pytest.mark.parametrize("name", LENSED)


def test_every_lens_has_a_workflow() -> None:
    assert modality_names() == LENSED


PROFILES = [(name, profile) for name in LENSED for profile in load_workflow(name).all_profiles]


@lensed
def test_every_modality_has_the_common_profiles(name: str) -> None:
    assert {"demo", "full", "full-1gpu", "tiny"} <= load_workflow(name).all_profiles.keys()


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_every_profile_is_a_valid_run_that_a_gate_holds(name: str, profile: str) -> None:
    config = load_workflow(name).config(profile)
    assert config.modality == name
    assert config.gates
    config.tower()


@lensed
@pytest.mark.parametrize("profile", ["full", "full-1gpu"])
def test_long_runs_validate_seldom(name: str, profile: str) -> None:
    """A point a thousand steps draws the curve; each embeds thousands of samples."""
    train = load_workflow(name).config(profile).lens.train
    assert train.steps / train.validate_every <= 250


@lensed
def test_a_registered_models_signature_takes_what_the_modality_takes(name: str) -> None:
    """`example()` of every size that is run is the registry's input example."""
    for profile in load_workflow(name).all_profiles:
        signal = load_workflow(name).config(profile).tower().signal_needed
        signal.store(signal.example())


@lensed
def test_a_stored_signal_can_be_drawn_for_the_report(name: str) -> None:
    signal = modalities.load_lensed(name).Signal(**example(name).signal)
    stored = signal.store(raws(name, 1)[0])
    data = encode_array(stored.astype(np.float16) if stored.dtype.kind == "f" else stored)
    picture = draw_signal(name, data, 64)
    assert picture.size == (64, 64)
    assert len(np.unique(np.asarray(picture).reshape(-1, 4), axis=0)) > 1
    assert signal_file(name).endswith(".npy")
