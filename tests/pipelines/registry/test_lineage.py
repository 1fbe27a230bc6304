"""Lineage: back to what a version was made of, forward to what was found of it."""

from pathlib import Path

import pytest

from pipelines.registry import lineage
from tests.pipelines.finished_run import finished_run
from tests.pipelines.registered import NAME, register
from vitlens_core.errors import ConfigError


def test_a_version_names_everything_it_was_made_of(home: Path) -> None:
    model = register(home)
    found = lineage.lineage(home, NAME, model.version)
    made = finished_run(home)
    assert found.fingerprints == {step: a.fingerprint for step, a in made.items()}
    assert (found.foundation_spec, found.foundation_digest) == ("lit:a+b", "0" * 64)
    assert found.config["lens.train.steps"] == "4"
    assert [gate.name for gate in found.gates] == ["top1"]
    [evaluation] = found.evaluations
    assert evaluation.fingerprint == made["evaluation"].fingerprint
    assert evaluation.figures["zero_shot.top1"] == 0.5


def test_two_versions_differ_in_what_differs(home: Path) -> None:
    one, other = register(home, 0.25), register(home, 0.5)
    found = lineage.compare(home, NAME, one.version, other.version)
    assert found.figures["zero_shot.top1"] == (0.25, 0.5)
    assert not any(name.startswith(("train.", "seconds.")) for name in found.figures)
    assert found.settings == {}
    assert set(found.steps) == set(finished_run(home))
    assert not found.same_samples


def test_a_version_is_not_compared_with_itself(home: Path) -> None:
    with pytest.raises(ConfigError, match="expected two versions to compare, found 1 twice"):
        lineage.compare(home, NAME, register(home).version, 1)
