"""Exports a tower as an ONNX file, for runtimes without PyTorch.

Reads     a tower and one batch of prepared signals.
Writes    an .onnx file: `signal` [B, …] float32 in, `embedding` [B, E] float32 out, B free.
Promises  a file that is written agrees with PyTorch.

Needs `pip install 'vitlens[onnx]'`. Axes: B batch, E embedding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from vitlens_core.errors import InputError, VitlensError
from vitlens_core.readers.files import optional
from vitlens_core.scratch import Scratch

# For an entry of a unit-norm embedding: the two runtimes sum in different orders.
TOLERANCE = 1e-4
# Protobuf ends at 2 GiB, of which 64 MiB are left for the graph itself. Larger weights go into a
# file beside it, <name>.data.
LARGEST_FILE_BYTES = 2**31 - 2**26


def export_onnx(
    tower: nn.Module,
    signals: Tensor,
    path: str | Path,
    *,
    tolerance: float = TOLERANCE,
    largest_file_bytes: int = LARGEST_FILE_BYTES,
) -> float:
    """Write `tower` as ONNX and compare it with PyTorch on `signals`, whole and one by one.

    Preparation (`Tokenizer.prepare`) is not part of the file.

    Args:
        tower: any module from one tensor to embeddings; its mode is restored.
        signals: two or more prepared signals [B, …], as the tower sees them.
        tolerance: by how much an entry of an embedding may differ.
        largest_file_bytes: weights beyond it go into a file beside `path`, <name>.data.

    Returns:
        The largest difference between the two, at most `tolerance`.

    Raises:
            _write(tower, signals, draft, largest_file_bytes)
            # One signal alone too: a batch size that the export took for fixed fails there.
            difference = max(_difference(tower, part, draft) for part in (signals, signals[:1]))
            # `not <=` also refuses a difference that is NaN.
            if not difference <= tolerance:
        ConfigError: onnxscript or onnxruntime is not installed.
    """
    for package in ("onnxscript", "onnxruntime"):
        optional(package, extra="onnx")
    if len(signals) < 2:
        raise InputError(f"expected two or more signals to check with, found {len(signals)}")
    path = Path(path)
    was_training = tower.training
    tower.eval()
    try:
        # Beside the target, so that renaming stays on one file system; under the target's name,
        # since the graph refers to <name>.data by it.
        with Scratch("export", str(path.parent)) as folder:
            draft = Path(folder, path.name)
            _write(tower, signals, draft, largest_file_bytes)
            # One signal alone too: a batch size that the export took for fixed fails there.
            difference = max(_difference(tower, part, draft) for part in (signals, signals[:1]))
            # `not <=` also refuses a difference that is NaN.
            if not difference <= tolerance:
                raise VitlensError(
                    f"ONNX and PyTorch differ by {difference:.2g}, more than {tolerance}; "
                    f"{path} was not written"
                )
            for file in Path(folder).iterdir():
                file.replace(path.with_name(file.name))
    finally:
        tower.train(was_training)
    return difference


@torch.no_grad()
def _write(tower: nn.Module, signals: Tensor, path: Path, largest_file_bytes: int) -> None:
    weights_bytes = sum(p.numel() * p.element_size() for p in tower.parameters())
    torch.onnx.export(
        tower,
        (signals,),
        path,
        input_names=["signal"],
        output_names=["embedding"],
        dynamic_shapes=({0: Dim.DYNAMIC},),
        external_data=weights_bytes > largest_file_bytes,
        dynamo=True,
        verbose=False,
    )


@torch.no_grad()
def _difference(tower: nn.Module, signals: Tensor, path: Path) -> float:
    """Return the largest difference of an entry between PyTorch's embeddings and the file's."""
    runtime = optional("onnxruntime", extra="onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {"signal": signals.cpu().numpy()})
    return float(np.abs(exported - tower(signals).cpu().numpy()).max())
