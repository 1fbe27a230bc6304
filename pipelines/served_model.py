"""The code of a registered lens: MLflow copies this file into the model and runs it on load.

Reads     the model's own files: lens.safetensors, foundation.json and, for a `lit` foundation,
          projections.safetensors.
Promises  needs vitlens_core and mlflow alone, no pickle, from any folder; refuses a foundation
          whose weights are not those the lens was trained against.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from safetensors.torch import load_file

from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import InputError
from vitlens_core.foundation import Foundation, LitFoundation, load_foundation

_BATCH = 64


class ServedLens(PythonModel):
    """The modality's stored signal [B, …] float32 → unit-norm embeddings [B, E] float32."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the foundation and the lens on it (`ConfigError`, `CheckpointError`)."""
        files = {name: Path(path) for name, path in context.artifacts.items()}
        self.tower, settings = load_lens(files["lens"], _open_foundation(files))
        self.signal = settings.signal

    @torch.inference_mode()
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Embed a batch of signals, prepared as in evaluation.

        Raises:
            InputError: a shape the modality does not have, or values that are not finite.
        """
        if not np.isfinite(model_input).all():
            raise InputError("the signal holds NaN or infinite values")
        parts = torch.from_numpy(np.ascontiguousarray(model_input)).split(_BATCH)
        return np.concatenate([self.tower(self.signal.prepare(part)).numpy() for part in parts])


def _open_foundation(files: dict[str, Path]) -> Foundation:
    described = json.loads(files["foundation"].read_text())
    foundation = load_foundation(
        described["spec"], described["embed_dim"], described["image_size_px"]
    )
    if isinstance(foundation, LitFoundation):
        foundation.load_projections(load_file(str(files["projections"])))
    return foundation


mlflow.models.set_model(ServedLens())
