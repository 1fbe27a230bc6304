"""estimate: samples, bytes, hours and cost of a run, from its counts, its network and slopes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from pipelines.config import RunConfig
from pipelines.targets.stored import bytes_per_value
from vitlens_core.modalities import load_lensed
from workflows.planning.listing import Counts
from workflows.planning.network import Network, rows_of
from workflows.planning.slopes import Slopes

_TEXTS_PER_SAMPLE = 20  # captions and prompts of the demo's samples
_RENDER_PX = 224


@dataclass(frozen=True)
class Training:
    """What is trained on, and how long."""

    samples_seen: int
    steps: int
    batch_size: int
    rows_per_forward: int
    workers: int
    passes: float | None  # through the training samples


@dataclass(frozen=True)
class Stored:
    """Bytes of each step, where the samples are known."""

    fetched_bytes: float | None
    renders_bytes: float | None
    shards_bytes: float | None
    targets_bytes: float | None
    lens_bytes: float

    @property
    def total_bytes(self) -> float:
        return sum(value or 0.0 for value in vars(self).values())


@dataclass(frozen=True)
class Hours:
    """Work by step; GPU-hours at the stated share of a GPU's peak."""

    render_core_hours: float | None
    encode_gpu_hours: float | None
    train_gpu_hours: float
    train_days: float  # on the profile's workers
    images_encoded: int | None


@dataclass(frozen=True)
class Cost:
    """Prices of the file of slopes [USD]."""

    render_usd: float | None
    gpu_usd: float
    storage_month_usd: float


def training_of(config: RunConfig, counts: Counts) -> Training:
    train = config.lens.train
    seen = train.steps * train.batch_size
    return Training(
        samples_seen=seen,
        steps=train.steps,
        batch_size=train.batch_size,
        rows_per_forward=rows_of(config),
        workers=config.resources.train_workers,
        passes=seen / counts.train if counts.train else None,
    )


def used(counts: Counts) -> int | None:
    """Return how many objects or recordings are worked on, where that is known."""
    sides = [counts.train, counts.val, counts.test]
    known = [side for side in sides if side is not None]
    return counts.listed if counts.listed and len(known) < len(sides) else sum(known) or None


def stored_of(config: RunConfig, counts: Counts, network: Network, slopes: Slopes) -> Stored:
    objects, samples = used(counts), samples_of(config, counts)
    signal = config.tower().signal_config
    # As fp16, or as bytes of pictures; what the settings themselves make of an example.
    signal_bytes = 2.0 * prod(signal.store(signal.example()).shape)
    views = views_of(config)
    of_targets = (views + _TEXTS_PER_SAMPLE) * network.embed_dim
    of_targets *= bytes_per_value(config.targets.stored_as)
    pixels = views * image_px(config) ** 2 * slopes.measured.shard_bytes_per_pixel
    rendered = config.source is None
    glb = slopes.measured.glb_bytes
    if config.objects.mirror == "objaverse":
        glb = slopes.stated.objaverse_glb_bytes
    of_render = config.renders.views * slopes.measured.render_bytes_per_view
    of_render *= (config.renders.size_px / _RENDER_PX) ** 2
    return Stored(
        fetched_bytes=_times(objects, glb) if rendered else None,
        renders_bytes=_times(objects, of_render) if rendered else None,
        shards_bytes=_times(samples, signal_bytes + pixels),
        targets_bytes=_times(samples, signal_bytes + of_targets),
        lens_bytes=4.0 * network.trained,
    )


def hours_of(config: RunConfig, counts: Counts, network: Network, slopes: Slopes) -> Hours:
    objects, samples = used(counts), samples_of(config, counts)
    images = None if samples is None else samples * views_of(config)
    if config.source is not None and config.source.embeddings_of == config.foundation.spec:
        images = 0  # the data set brings them
    train = config.lens.train
    gpu_hours = slopes.gpu_hours(network.step_flops * train.steps * train.batch_size)
    share = config.renders.views / 12  # the slope is of 12 views
    render = _times(objects, slopes.measured.render_core_s * share / 3600)
    return Hours(
        render_core_hours=render if config.source is None else None,
        encode_gpu_hours=None if images is None else slopes.gpu_hours(network.image_flops * images),
        train_gpu_hours=gpu_hours,
        train_days=gpu_hours / max(1, config.resources.train_workers) / 24,
        images_encoded=images,
    )


def cost_of(hours: Hours, stored: Stored, slopes: Slopes) -> Cost:
    price = slopes.gpu.usd_per_hour
    return Cost(
        render_usd=_times(hours.render_core_hours, slopes.stated.core_usd_per_hour),
        gpu_usd=price * (hours.train_gpu_hours + (hours.encode_gpu_hours or 0.0)),
        storage_month_usd=stored.total_bytes / 1e9 * slopes.stated.gb_month_usd,
    )


def views_of(config: RunConfig) -> int:
    """Return the pictures of a sample: all views of an object, or one."""
    per_object = load_lensed(config.modality).renders_as == "object"
    return config.renders.views if config.source is None and per_object else 1


def samples_of(config: RunConfig, counts: Counts) -> int | None:
    """Return the samples: recordings, objects, or the views of objects."""
    objects = used(counts)
    if objects is None or config.source is not None:
        return objects
    if load_lensed(config.modality).renders_as != "view":
        return objects
    return objects * (config.shards.views or config.renders.views)


def image_px(config: RunConfig) -> int:
    return config.renders.size_px if config.source is None else config.shards.image_px


def _times(count: float | None, each: float) -> float | None:
    return None if count is None else count * each
