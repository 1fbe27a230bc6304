"""network: the tower of a run on the meta device: parameters, operations and memory of a step.

Promises  no weights are read and no memory is taken. Operations are counted by torch itself in a
          forward and a backward pass; activations are what autograd keeps for the backward pass,
          as the difference between two samples and one.

Axes: B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipelines.config import RunConfig
from pipelines.lens.chunked_loss import MOST_LOGITS
from pipelines.lens.parallel import parallelize
from pipelines.targets.step import TOKENS
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import hf
from vitlens_core.foundation.lit import ProjectedFeatures
from vitlens_core.foundation.settings import EMBED_DIM, IMAGE_SIZE_PX
from vitlens_core.models.dropping import Dropping
from vitlens_core.models.sizes import open_clip_sizes, timm_sizes, tower_sizes
from vitlens_core.models.tower import Tower
from vitlens_core.models.trunk import Readout, TapFeatures, Trunk
from vitlens_core.precision import halve_frozen
from workflows.planning.cached import is_in_cache
from workflows.planning.slopes import Slopes

_FP32, _BF16 = 4, 2
_LIT_TAPS = 2


@dataclass(frozen=True)
class Network:
    """Sizes of a tower and of its training step.

    Attributes:
        step_flops: operations of one sample, forward and backward, a further forward included
            where the batch is divided or activations are recomputed.
        image_flops: operations of one picture in the foundation's trunk.
        frozen_bytes: of the frozen parameters as training stores them: under bf16, those that are
            multiplied in it take half.
        activation_bytes: kept of one sample for the backward pass, at the precision of training.
    """

    trained: int
    frozen: int
    frozen_bytes: float
    embed_dim: int
    step_flops: float
    image_flops: float
    activation_bytes: float


def network_of(config: RunConfig, *, bf16: bool) -> Network:
    """Build the tower without values and count.

    Args:
        bf16: whether it is trained in bf16.

    Raises:
        ConfigError: the sizes do not fit, or a model's blocks cannot be counted.
    """
    trunk = foundation_sizes(config)
    tower = tower_sizes(config.tower(), trunk).train()
    parallelize(tower, config.resources.model_copy(update={"compile": False}))
    try:
        one, two = (_pass(tower, config, count) for count in (1, 2))
    except NotImplementedError as error:  # Qwen's attention looks at lengths, which have no values
        raise ConfigError(
            f"{config.foundation.spec}: its blocks compute with values, which a plan does not "
            "have; no plan can be made of it"
        ) from error
    divided = rows_of(config) < -(-config.lens.train.batch_size // _workers(config))
    if bf16:  # after the passes: there is no autocast on the meta device
        halve_frozen(tower)
    trained = sum(p.numel() for p in tower.parameters() if p.requires_grad)
    frozen = [p for p in tower.parameters() if not p.requires_grad]
    with FlopCounterMode(display=False) as counter:
        trunk(_meta(1, trunk.input_tokens, trunk.width))
    return Network(
        trained=trained,
        frozen=sum(p.numel() for p in frozen),
        frozen_bytes=float(sum(p.nbytes for p in frozen)),
        embed_dim=one.embed_dim,
        step_flops=one.flops + (one.forward_flops if divided else 0.0),
        image_flops=float(counter.get_total_flops()),
        activation_bytes=(two.kept_bytes - one.kept_bytes) * (_BF16 / _FP32 if bf16 else 1.0),
    )


def foundation_sizes(config: RunConfig) -> Trunk:
    """Return the trunk of the run's foundation, without values."""
    spec = config.foundation.spec
    if spec.startswith("open_clip:"):
        return open_clip_sizes(spec.removeprefix("open_clip:").partition("/")[0])
    if spec.startswith("hf:"):
        return _of_hugging_face(spec)
    model = spec.removeprefix("lit:").partition("+")[0].partition(".")[0]
    side = config.foundation.image_size_px or IMAGE_SIZE_PX

    def readout(vit: Any) -> Readout:
        width = 2 * _LIT_TAPS * vit.embed_dim  # CLS and mean patch of each block
        projection = nn.Linear(width, config.foundation.embed_dim or EMBED_DIM)
        return ProjectedFeatures(TapFeatures(vit.norm, _LIT_TAPS), projection)

    return timm_sizes(model, side, readout)


def _of_hugging_face(spec: str) -> Trunk:
    if not is_in_cache(spec):
        source = hf.parse(spec)[0]
        raise ConfigError(
            f"foundation.spec: the config.json of {source} is not on this machine, and no server "
            f"is asked for a plan; run `hf download {source} config.json`, or name a folder"
        )
    return hf.trunk_sizes(spec)


def is_bf16(config: RunConfig, slopes: Slopes) -> bool:
    """Whether the run trains in bf16 on the planned kind of GPU."""
    precision = config.lens.train.precision
    return slopes.gpu.multiplies_bf16 if precision == "auto" else precision == "bf16"


def rows_of(config: RunConfig) -> int:
    """Return the rows of a worker in one forward pass."""
    return config.lens.train.rows_per_forward(_workers(config))


def memory_bytes(config: RunConfig, network: Network) -> dict[str, float]:
    """Return what one training worker keeps, by what it is."""
    train, workers = config.lens.train, _workers(config)
    shared = workers if config.resources.sharding == "fsdp" else 1
    copies = 3 + (train.ema_decay is not None)  # gradient, two moments, the average
    logits = -(-train.batch_size // workers) * train.batch_size
    if train.loss.positives == "all" or logits > MOST_LOGITS:
        logits = MOST_LOGITS  # as many at a time, of one kind of target
    else:
        logits *= len(train.weights(config.teachers).keys() - {TOKENS})
    return {
        "weights": (_FP32 * network.trained + network.frozen_bytes) / shared,
        "gradient, optimizer and average": _FP32 * copies * network.trained / shared,
        "activations": network.activation_bytes * rows_of(config),
        # Logits, their softmax and its gradient, in both directions, for each kind of target.
        "loss": 6.0 * _FP32 * logits,
    }


def _workers(config: RunConfig) -> int:
    return max(1, config.resources.train_workers)


@dataclass(frozen=True)
class _Pass:
    """A forward and a backward pass of some samples, and what autograd kept between them."""

    flops: float
    forward_flops: float
    kept_bytes: float
    embed_dim: int


def _pass(tower: Tower, config: RunConfig, count: int) -> _Pass:
    kept: dict[int, int] = {}
    held: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        held.append(tensor)  # else a later storage may have its address
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            embeddings = _embed(tower, config, count)
        forward, kept_bytes = counter.get_total_flops(), sum(kept.values())
        (embeddings * torch.empty_like(embeddings)).sum().backward()
    width = embeddings.shape[1]
    return _Pass(float(counter.get_total_flops()), float(forward), float(kept_bytes), width)


def _embed(tower: Tower, config: RunConfig, count: int) -> Tensor:
    """Embed `count` samples as in training, without what is random in its values."""
    train, settings = config.lens.train, config.tower()
    signal = settings.signal_config
    example = torch.from_numpy(signal.store(signal.example()))[None]
    prepared = settings.tokenizer_config.prepare(example, signal)
    if signal.in_clips:
        prepared = prepared[:, :1]  # training sees one clip
    signals = _meta(count, *prepared.shape[1:])
    if not train.token_dropout and not train.drop_path:
        return tower(signals)
    seeds = torch.empty(count, dtype=torch.int64, device="meta")
    return tower(signals, Dropping(seeds, train.token_dropout, train.drop_path))


def _meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
