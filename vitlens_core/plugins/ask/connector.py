"""A connector: embeddings of a foundation's space as soft tokens of a frozen language model.

    soft token = W x + b + scale · MLP(x)

The linear part comes from a ridge regression and is not trained further; the residual is. It is
trained on image embeddings of the foundation, and takes embeddings of any modality in its space.
The file is safetensors; its metadata names the foundation and the language model it belongs to.

Axes: B signals, E embedding, W width of the language model's input embeddings, H hidden width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from vitlens_core.checkpoint import canonical, read_tensors
from vitlens_core.errors import CheckpointError

FORMAT = "vitlens-connector-1"
FILE = "connector.safetensors"


class ConnectorInfo(BaseModel):
    """What a connector belongs to, and its sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    foundation: str = Field(description="spec of the foundation whose embeddings it takes")
    foundation_digest: str = Field(description="SHA-256 of its weights, hexadecimal")
    language_model: str = Field(description="folder or name on the hub")
    language_model_digest: str = Field(description="SHA-256 of its weights, hexadecimal")
    embed_dim: int = Field(ge=1, description="width E of an embedding")
    width: int = Field(ge=1, description="width W of the language model's input embeddings")
    hidden: int = Field(ge=1, description="width H of the residual MLP")


class Connector(nn.Module):
    """Turns unit-norm embeddings [B, E] into one soft token each, [B, W].

    Attributes:
        linear: the start, which is not trained by gradients.
        residual: begins at zero, so that training begins at the start.
        scale: length of a word's input embedding over √W; a step of the optimizer then means the
            same for every language model.
    """

    scale: Tensor

    def __init__(self, embed_dim: int, width: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, width).requires_grad_(False)
        last = nn.Linear(hidden, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), last)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.linear(embeddings) + self.scale * self.residual(embeddings)


def encode_connector(connector: Connector, info: ConnectorInfo) -> bytes:
    """Encode a connector; equal ones give equal bytes."""
    metadata = {"format": FORMAT, "info": info.model_dump_json()}
    tensors = {n: t.detach().cpu().contiguous() for n, t in connector.state_dict().items()}
    return canonical(save_tensors(tensors, metadata))


def load_connector(path: Path) -> tuple[Connector, ConnectorInfo]:
    """Load a connector, in evaluation mode.

    Raises:
        CheckpointError: the file is none, or its tensors do not fit what it states.
    """
    stated, tensors = read_tensors(path)
    if stated.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no connector ({FORMAT}); `vitlens connector` makes one")
    try:
        info = ConnectorInfo.model_validate_json(stated.get("info", ""))
        connector = Connector(info.embed_dim, info.width, info.hidden)
        connector.load_state_dict(tensors)
    except (ValidationError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its tensors do not fit what it states: {error}") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds NaN or infinite numbers; train it again")
    return connector.eval().requires_grad_(False), info
