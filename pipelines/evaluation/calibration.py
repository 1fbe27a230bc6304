"""calibration: fits the temperature that turns a lens's similarities into probabilities.

It is fitted on validation samples with the classes of the held-out ones. The expected calibration
error is measured on the held-out samples, with the fitted and with the trained temperature.
"""

from __future__ import annotations

import numpy as np

from pipelines.evaluation.result import Calibration
from vitlens_core import metrics
from vitlens_core.metrics import Bootstrap, Interval

_FEWEST = 10  # validation samples needed for a fit


def fit(
    validation: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    trained_with: float,
    bootstrap: Bootstrap,
) -> Calibration | None:
    """Return the fit and its errors, or None if validation samples do not decide a temperature.

    Args:
        validation, held_out: similarities [B, K] to the classes, and labels [B], of each split.
        trained_with: the lens's own temperature.
        bootstrap: over the held-out samples.
    """
    scores, labels = validation
    right = scores.argmax(axis=1) == labels if len(labels) else np.zeros(0, dtype=bool)
    if len(labels) < _FEWEST or right.all() or not right.any():
        return None  # too few samples; or all right or all wrong: no temperature is most likely
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
