"""calibration: the temperature by which a lens's similarities become probabilities.

Fitted on validation samples against the classes of the held-out ones, and judged on those: the
expected calibration error before (with the temperature the lens was trained with) and after.
"""

from __future__ import annotations

import numpy as np

from pipelines.evaluation.result import Calibration
from vitlens_core import metrics
from vitlens_core.metrics import Bootstrap, Interval

_FEWEST = 10  # validation samples below which a fit says nothing


def fit(
    validation: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    trained_with: float,
    bootstrap: Bootstrap,
) -> Calibration | None:
    """The fit and its errors; None where validation cannot tell a temperature.

    Args:
        validation, held_out: similarities [B, K] to the classes, and labels [B], of each split.
        trained_with: the lens's own temperature.
        bootstrap: over the held-out samples.
    """
    scores, labels = validation
    right = scores.argmax(axis=1) == labels if len(labels) else np.zeros(0, dtype=bool)
    if len(labels) < _FEWEST or right.all() or not right.any():
        return None  # too few, or no temperature is the likeliest
    temperature = metrics.fit_temperature(scores, labels)
    return Calibration(
        temperature=temperature,
        n=len(labels),
        classes=scores.shape[1],
        trained_with=trained_with,
        ece=_error(*held_out, temperature, bootstrap),
        ece_before=_error(*held_out, trained_with, bootstrap),
    )


def _error(
    scores: np.ndarray, labels: np.ndarray, temperature: float, bootstrap: Bootstrap
) -> Interval:
    probabilities = metrics.softmax(scores.astype(np.float64) / temperature)
    return metrics.expected_calibration_error(probabilities, labels, bootstrap)
