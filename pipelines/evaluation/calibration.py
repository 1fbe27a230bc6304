"""calibration: the temperature by which a lens's similarities become probabilities.

Fitted on validation samples against the classes of the held-out ones, and judged on those: the
expected calibration error before (with the temperature the lens was trained with) and after.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitlens_core import metrics

_FEWEST = 10  # validation samples below which a fit says nothing


def fit(
    validation: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    trained_with: float,
    sure: dict[str, Any],
) -> dict[str, Any] | None:
    """What `calibration.json` holds; None where validation cannot tell a temperature.

    Args:
        validation, held_out: similarities [B, K] to the classes, and labels [B], of each split.
        trained_with: the lens's own temperature.
        sure: resamples, seed and groups of the held-out samples, for the intervals.
    """
    scores, labels = validation
    right = scores.argmax(axis=1) == labels if len(labels) else np.zeros(0, dtype=bool)
    if len(labels) < _FEWEST or right.all() or not right.any():
        return None  # too few, or no temperature is the likeliest
    temperature = metrics.fit_temperature(scores, labels)
    before = _error(*held_out, trained_with, sure)
    after = _error(*held_out, temperature, sure)
    return {
        "temperature": temperature,
        "fitted_on": "val",
        "n": len(labels),
        "classes": scores.shape[1],
        "trained_with": trained_with,
        "ece": after.value,
        "ece_before": before.value,
        "ci95": {"ece": [after.low, after.high], "ece_before": [before.low, before.high]},
    }


def _error(
    scores: np.ndarray, labels: np.ndarray, temperature: float, sure: dict[str, Any]
) -> metrics.Interval:
    probabilities = metrics.softmax(scores.astype(np.float64) / temperature)
    return metrics.expected_calibration_error(probabilities, labels, **sure)
