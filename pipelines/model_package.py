"""model_package: a lens as a folder that MLflow loads.

Reads     the lens and foundation artifacts.
Writes    an MLflow pyfunc model: `served_model.py`, lens.safetensors, foundation.json,
          projections.safetensors (a `lit` foundation's), signature, input example, requirements.
Promises  models-from-code and safetensors, so nothing in it is pickled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement

from pipelines.artifacts import Artifact
from vitlens_core.checkpoint import read_settings

_MODEL_FILES = {
    "lens": ("lens", "lens.safetensors"),
    "foundation": ("foundation", "foundation.json"),
    "projections": ("foundation", "projections.safetensors"),
}


def save_model(folder: Path, artifacts: Mapping[str, Artifact], run_id: str, model_id: str) -> None:
    """Write the lens as an MLflow model: code, safetensors, signature, example, requirements."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    with tempfile.TemporaryDirectory(prefix="vitlens-files-") as staging:
        files = _stage(artifacts, Path(staging))
        settings, foundation_spec, _ = read_settings(files["lens"])
        embed_dim = artifacts["foundation"].read_json("foundation.json")["embed_dim"]
        example = settings.signal.example()[None]
        raws = TensorSpec(example.dtype, (-1, *settings.signal.raw_shape))
        embeddings = TensorSpec(np.dtype(np.float32), (-1, embed_dim))
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={name: str(path) for name, path in files.items()},
            signature=ModelSignature(Schema([raws]), Schema([embeddings])),
            input_example=example,
            pip_requirements=requirements(lit=foundation_spec.startswith("lit:")),
            mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        )


def requirements(*, lit: bool) -> list[str]:
    """vitlens_core's own requirements, pinned to what is installed here."""
    extras = ["", "render", *(["lit"] if lit else [])]  # `render` sorts clouds that come unsorted
    declared = map(Requirement, metadata.requires("vitlens") or ())
    names = {
        requirement.name
        for requirement in declared
        for extra in extras
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }
    return [f"{name}=={metadata.version(name)}" for name in ["vitlens", *sorted(names)]]


def _stage(artifacts: Mapping[str, Artifact], folder: Path) -> dict[str, Path]:
    """Local copies of the files the model is made of, from whatever store they lie in."""
    files = {}
    for name, (step, file_name) in _MODEL_FILES.items():
        source = artifacts[step].path(file_name)
        if name != "projections" or source.exists():
            files[name] = folder / file_name
            files[name].write_bytes(source.read_bytes())
    return files
