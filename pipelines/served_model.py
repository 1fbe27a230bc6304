"""The code of a registered lens: MLflow copies this file into the model and runs it on load.

Reads     the model's own files: lens.safetensors, foundation.json and, for a `lit` foundation,
          projections.safetensors.
Promises  needs vitlens_core and mlflow alone, no pickle, from any folder; refuses a foundation
          whose weights are not those the lens was trained against.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from vitlens_core.api.lenses import open_foundation
from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import InputError

_BATCH = 64


class ServedLens(PythonModel):
    """Raw inputs of the modality [B, …] float32 → unit-norm embeddings [B, E] float32."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the foundation and the lens on it (`ConfigError`, `CheckpointError`)."""
        files = {name: Path(path) for name, path in context.artifacts.items()}
        self.tower, settings = load_lens(files["lens"], open_foundation(files["foundation"].parent))
        self.signal = settings.signal

    @torch.inference_mode()
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Check, prepare and embed a batch, as evaluation does with stored signals.

        Raises:
            InputError: no input, or one the modality refuses (shape, range, NaN).
        """
        if not len(model_input):
            raise InputError("expected at least one input, found an empty batch")
        signals = torch.from_numpy(np.stack([self.signal.store(raw) for raw in model_input]))
        parts = [self.tower(self.signal.prepare(part)) for part in signals.split(_BATCH)]
        return torch.cat(parts).numpy()


mlflow.models.set_model(ServedLens())
