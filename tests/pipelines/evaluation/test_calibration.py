"""Calibration: fitted on one split, judged on another, and left out where it says nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation.calibration import fit
from vitlens_core.metrics import Bootstrap

BOOTSTRAP = Bootstrap(resamples=100)
Split = tuple[np.ndarray, np.ndarray]


def drawn(rng: np.random.Generator, count: int, classes: int, temperature: float) -> Split:
    """Scores in −1..1 and labels drawn from their softmax at `temperature`."""
    scores = rng.uniform(-1, 1, size=(count, classes))
    powers = np.exp(scores / temperature)
    shares = powers / powers.sum(axis=1, keepdims=True)
    return scores, np.array([rng.choice(classes, p=share) for share in shares])


@settings(max_examples=15, deadline=None)
@given(temperature=st.floats(0.1, 1.0), seed=st.integers(0, 1000))
def test_the_temperature_that_made_the_labels_is_found(temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    splits = [drawn(rng, 2000, 5, temperature) for _ in range(2)]
    found = fit(splits[0], splits[1], 0.01, BOOTSTRAP)
    assert found is not None
    assert found.temperature == pytest.approx(temperature, rel=0.25)
    assert found.ece.value < 0.06  # what 15 bins of 2,000 draws leave
    assert found.ece.value < found.ece_before.value


@pytest.mark.parametrize("right", [0, 12])
def test_all_right_and_all_wrong_fit_nothing(right: int) -> None:
    scores = np.eye(12)[:, :3].repeat(1, axis=1) + np.arange(3) * 1e-3
    labels = scores.argmax(axis=1) if right else (scores.argmax(axis=1) + 1) % 3
    assert fit((scores, labels), (scores, labels), 0.07, BOOTSTRAP) is None


def test_a_few_samples_fit_nothing() -> None:
    few = drawn(np.random.default_rng(0), 9, 3, 0.5)
    assert fit(few, few, 0.07, BOOTSTRAP) is None
    none = np.zeros((0, 3)), np.zeros(0, dtype=int)
    assert fit(none, few, 0.07, BOOTSTRAP) is None
