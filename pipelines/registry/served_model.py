"""served_model: the code of a registered lens; MLflow copies it into the model and runs it on load.

Reads     the model's own files: lens.safetensors, foundation.json, calibration.json and, for a
          `lit` foundation, projections.safetensors; a copy of `vitlens_core` lies beside them.
Promises  needs no pickle and nothing of vitlens but that copy, and works in any folder; open_clip
          fetches a foundation named by a hub's tag, which is refused if its weights are not those
          that the lens was trained against.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext

import vitlens_core
from vitlens_core.digests import check_digests
from vitlens_core.errors import InputError
from vitlens_core.lens_header import read_settings


class ServedLens(PythonModel):
    """A list of files (paths or their bytes) and raw arrays → unit-norm embeddings [B, E]."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the foundation and the lens on it.

        Raises:
            IntegrityError: a file differs from the one that was registered.
            CheckpointError: the weights do not fit.
        """
        lens = Path(context.artifacts["lens"])
        check_digests(lens.parents[1])  # the model's folder: a flipped bit must not load
        settings = read_settings(lens)[0]
        self.modality = settings.modality
        self.raw_type = settings.signal_needed.example().dtype
        self.model = vitlens_core.load(lens, modalities=[self.modality])

    # MLflow takes the model's signature from these hints.
    def predict(
        self,
        context: PythonModelContext,
        model_input: list[Any],
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Embed inputs of the modality: float32 [B, E], in their order.

        Args:
            model_input: any mix of paths, bytes of files, raw arrays and nested lists of numbers.
            params: not used.

        Raises:
            InputError: there is no input, or one cannot be read or is refused by the modality
                (shape, range, NaN); the message names its place in the list.
        """
        if not model_input:
            raise InputError("expected at least one input, found an empty list")
        inputs = [np.asarray(i, self.raw_type) if isinstance(i, list) else i for i in model_input]
        return self.model.encode({self.modality: inputs})[self.modality].numpy()


mlflow.models.set_model(ServedLens())
