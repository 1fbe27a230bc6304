"""axes: what a sweep can vary; one row of `AXES` each.

An axis turns each value into a point: a label, and the overrides that turn the profile into the
point. Without `--values` the axis proposes values around the profile's own. An axis of names
accepts only the names in its table, so a new point is one more line there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.config import RunConfig
from pipelines.foundation.step import SCHEME
from vitlens_core.errors import ConfigError, unknown
from vitlens_core.foundation.settings import EMBED_DIM
from vitlens_core.losses.base import LOSSES
from vitlens_core.models.reference_config import LOGIT_SCALES
from workflows.spec import Workflow
from workflows.trunk_axes import Overrides, efficiencies, efficiency, trunk, trunks

Refusal = Callable[[Workflow, RunConfig], str]

_FEWEST = 2

SUPERVISION: dict[str, Overrides] = {
    "image+text": ("lens.train.image_weight=1", "lens.train.text_weight=1"),
    "image": ("lens.train.image_weight=1", "lens.train.text_weight=0"),
    "text": ("lens.train.image_weight=0", "lens.train.text_weight=1"),
}
HEADS: dict[str, Overrides] = {kind: (f"lens.head={kind}",) for kind in ("frozen", "linear", "mlp")}
AUGMENTATION: dict[str, Overrides] = {
    "on": ("lens.train.augmentation=true",),
    "off": ("lens.train.augmentation=false",),
}
# Learned, or one of the fixed values of ImageBind (arXiv 2305.05665, §5 and appendix B).
TEMPERATURES = ("learned", "0.05", "0.07", "0.1", "0.2")
# The foundations that ViT-Lens calls B, L and G.
CLIPS = (
    "open_clip:ViT-B-16/datacomp_xl_s13b_b90k",
    "open_clip:ViT-L-14/datacomp_xl_s13b_b90k",
    "open_clip:ViT-bigG-14/laion2b_s39b_b160k",
)


@dataclass(frozen=True)
class Point:
    """One setting of a sweep, over the profile and the user's own overrides.

    Attributes:
        value: how the axis's value is shown; the label too, unless seeds tell points apart.
    """

    label: str
    overrides: Overrides
    value: str = ""

    def with_seed(self, seed: int, *, random_trunk: bool = False) -> Point:
        """Return the same setting, trained with another seed.

        Args:
            random_trunk: whether the trunk has random weights, which are then of this seed too.
        """
        of_trunk = (f"lens.trunk.random={seed}",) if random_trunk else ()
        overrides = (*self.overrides, f"lens.train.seed={seed}", *of_trunk)
        return Point(f"{self.label}, seed {seed}", overrides, self.value or self.label)


@dataclass(frozen=True)
class Axis:
    """What is varied.

    Attributes:
        description: what is varied, for people.
        takes: what `--values` may name, for people.
        proposed: the values used when `--values` is absent, around a profile's settings.
        overrides: turns a value into a point's overrides; `ValueError` for a value it refuses.
        label: how a value is shown.
        refusal: why a workflow with these settings has no such axis; empty if it has one.
    """

    description: str
    takes: str
    proposed: Callable[[RunConfig], Iterable[str]]
    overrides: Callable[[str, RunConfig], Overrides]
    label: Callable[[str], str] = str
    refusal: Refusal = lambda workflow, config: ""


def points_of(
    name: str, workflow: Workflow, config: RunConfig, values: Sequence[str] = ()
) -> list[Point]:
    """Return the points of an axis, without repeats: of `values`, or else of those it proposes.

    Raises:
        ConfigError: no such axis, none in this workflow, or a value that it refuses.
    """
    if name not in AXES:
        raise ConfigError(unknown("axis", name, AXES))
    axis = AXES[name]
    if refusal := axis.refusal(workflow, config):
        raise ConfigError(f"{workflow.modality} has no axis {name}: {refusal}")
    chosen = list(dict.fromkeys(values or axis.proposed(config)))
    if len(chosen) < _FEWEST:
        raise ConfigError(
            f"axis {name}: a sweep compares {_FEWEST} or more points; found {', '.join(chosen)}. "
            f"--values takes {axis.takes}"
        )
    return [Point(axis.label(value), _overrides(name, axis, value, config)) for value in chosen]


def _overrides(name: str, axis: Axis, value: str, config: RunConfig) -> Overrides:
    try:
        return axis.overrides(value, config)
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"axis {name}: expected {axis.takes}; found {value!r}") from error


def _named(
    description: str, points: Mapping[str, Overrides], refusal: Refusal = lambda *_: ""
) -> Axis:
    """Build an axis whose points are the rows of a table."""

    def overrides(value: str, config: RunConfig) -> Overrides:
        if value not in points:
            raise ConfigError(unknown("value", value, points))
        return points[value]

    takes = ", ".join(points)
    return Axis(description, takes, lambda config: points, overrides, refusal=refusal)


def _recipe(value: str, config: RunConfig) -> Overrides:
    """Return ViT-Lens's recipe, or ImageBind's with its published temperature."""
    # ImageBind published no scale for some modalities; they get that of text.
    scale = LOGIT_SCALES.get(config.modality, LOGIT_SCALES["text"])
    recipes = {
        "vit-lens": (*SUPERVISION["image+text"], "lens.train.temperature=null", *HEADS["frozen"]),
        "imagebind": (
            *SUPERVISION["image"],
            f"lens.train.temperature={1 / scale:g}",
            *HEADS["linear"],
        ),
    }
    if value not in recipes:
        raise ConfigError(unknown("value", value, recipes))
    return recipes[value]


def _temperature(value: str, config: RunConfig) -> Overrides:
    return (f"lens.train.temperature={'null' if value == 'learned' else float(value)}",)


def _epochs(value: str, config: RunConfig) -> Overrides:
    """Stretch the whole schedule, including the warm-up."""
    train, times = config.lens.train, float(value)
    return (
        f"lens.train.steps={round(times * train.steps)}",
        f"lens.train.warmup_steps={round(times * train.warmup_steps)}",
    )


def _batch(value: str, config: RunConfig) -> Overrides:
    return (f"lens.train.batch_size={int(value)}",)


def _batches(config: RunConfig) -> list[str]:
    size = config.lens.train.batch_size
    return [str(max(2, size // 2)), str(size), str(2 * size)]


def _negatives(value: str, config: RunConfig) -> Overrides:
    """Read `64`, or `64+512` with a bank.

    The steps are scaled so that every batch size sees as many samples. The learning rate scales
    with the square root of the batch size, as the noise of AdamW's gradient does.
    """
    train, (batch, _, bank) = config.lens.train, value.partition("+")
    times = int(batch) / train.batch_size
    of_bank = (f"lens.train.negatives={{kind: bank, size: {int(bank)}}}",) if bank else ()
    return (
        f"lens.train.batch_size={int(batch)}",
        "lens.train.negatives=null",  # overrides merge: the profile's own would remain otherwise
        *of_bank,
        f"lens.train.steps={max(1, round(train.steps / times))}",
        f"lens.train.warmup_steps={round(train.warmup_steps / times)}",
        f"lens.train.learning_rate={train.learning_rate * times**0.5:g}",
    )


def _loss(value: str, config: RunConfig) -> Overrides:
    """Read `decoupled`, or `decoupled+all` against all views and captions of a sample.

    A loss has its defaults, or the profile's settings if it is the profile's.
    """
    own, (kind, plus, positives) = config.lens.train.loss, value.partition("+")
    if kind not in LOSSES.names():
        raise ConfigError(unknown("loss", kind, LOSSES.names()))
    if plus and positives != "all":
        raise ValueError(value)
    positives = positives or "drawn"
    if kind == own.kind:
        settings = own.model_copy(update={"positives": positives}).model_dump()
    else:
        settings = LOSSES.load(kind).model_validate({"positives": positives}).model_dump()
    # Overrides merge: without the first, settings of the profile's own loss would remain.
    return ("lens.train.loss=null", f"lens.train.loss={json.dumps(settings)}")


def _losses(config: RunConfig) -> list[str]:
    """Propose every loss against drawn targets, and the one for several against all."""
    return [*LOSSES.names(), "decoupled+all"]


def _hard_negatives(value: str, config: RunConfig) -> Overrides:
    """Read the samples that come together: 1 is drawing at random."""
    if int(value) == 1:
        return ("lens.train.hard_negatives=null",)
    return (f"lens.train.hard_negatives.group={int(value)}",)


def _token_dropout(value: str, config: RunConfig) -> Overrides:
    return (f"lens.train.token_dropout={float(value)}",)


def _proposed_negatives(config: RunConfig) -> list[str]:
    size = config.lens.train.batch_size
    return [str(size), f"{size}+{8 * size}", str(8 * size)]


def _foundation(value: str, config: RunConfig) -> Overrides:
    if not value.isdecimal():
        return (f"foundation.spec={value}",)
    if not config.foundation.spec.startswith("lit:"):
        raise ConfigError(
            f"axis foundation: {value} is the width of a `lit` space, but the profile's foundation "
            f"is {config.foundation.spec}; name specs instead"
        )
    return (f"foundation.embed_dim={value}",)


def _foundations(config: RunConfig) -> list[str]:
    """Propose widths around that of a `lit` space, or the CLIPs of the papers."""
    if not config.foundation.spec.startswith("lit:"):
        return list(CLIPS)
    width = config.foundation.embed_dim or EMBED_DIM
    return [str(max(1, width // 2)), str(width), str(2 * width)]


def _foundation_refusal(workflow: Workflow, config: RunConfig) -> str:
    shared = workflow.foundation_of if workflow.shares_foundation(config) else None
    return f"it shares the foundation of {shared}; sweep {shared}" if shared else ""


def _supervision(value: str, config: RunConfig) -> Overrides:
    """Read a row of `SUPERVISION`, or a registered lens as the only teacher."""
    if value.startswith(SCHEME):
        neither = ("lens.train.image_weight=0", "lens.train.text_weight=0")
        return (f"teachers={{{_teacher_name(value)}: {value}}}", *neither)
    if value not in SUPERVISION:
        raise ConfigError(unknown("value", value, [*SUPERVISION, f"{SCHEME}…"]))
    return SUPERVISION[value]


def _teacher_name(lens: str) -> str:
    """`models:/vitlens-depth@champion` → `lens_depth`."""
    registered = re.split(r"[@/]", lens.removeprefix(SCHEME))[0].removeprefix("vitlens-")
    return f"lens_{re.sub(r'[^a-z0-9]', '_', registered.lower())}"


def _supervision_refusal(workflow: Workflow, config: RunConfig) -> str:
    train = config.lens.train
    weights = {"image": train.image_weight, "text": train.text_weight}
    missing = [kind for kind, weight in weights.items() if not weight]
    return "".join(
        f"its settings train without {kind}s (lens.train.{kind}_weight is 0); if its "
        f"recordings have them, set lens.train.{kind}_weight=1"
        for kind in missing
    )


AXES = {
    "recipe": Axis(
        "ViT-Lens's recipe against ImageBind's",
        "vit-lens, imagebind",
        lambda config: ("vit-lens", "imagebind"),
        _recipe,
        refusal=_supervision_refusal,
    ),
    "supervision": Axis(
        "what the lens is trained against",
        f"{', '.join(SUPERVISION)}, and {SCHEME}… of a lens that teaches",
        lambda config: SUPERVISION,
        _supervision,
        refusal=_supervision_refusal,
    ),
    "head": _named("the head: the foundation's frozen projection, or one trained", HEADS),
    "temperature": Axis(
        "the temperature of the loss",
        "numbers above 0, and `learned`",
        lambda config: TEMPERATURES,
        _temperature,
    ),
    "epochs": Axis(
        "the length of training",
        "multiples of the profile's epochs, as 0.5,1,2",
        lambda config: ("0.5", "1", "2"),
        _epochs,
        label="× {}".format,
    ),
    "batch": Axis("the batch, at the same number of steps", "samples per step", _batches, _batch),
    "loss": Axis(
        "the loss, and whether a sample is held against all its views and captions",
        f"{', '.join(LOSSES.names())}, and with +all, as decoupled+all",
        _losses,
        _loss,
    ),
    "negatives": Axis(
        "the negatives of a sample, at the same number of samples seen",
        "samples per step, and with a bank of targets, as 64,64+512,512",
        _proposed_negatives,
        _negatives,
    ),
    "hard_negatives": Axis(
        "batches of samples with their nearest neighbours, at the same batch size",
        "samples that come together, as 1,2,4 (1: drawn at random)",
        lambda config: ("1", "2", "4"),
        _hard_negatives,
        label=lambda value: "at random" if value == "1" else f"groups of {value}",
    ),
    "token_dropout": Axis(
        "the share of latents (or patches) that a training step leaves out",
        "numbers from 0 to below 1",
        lambda config: ("0", "0.25", "0.5"),
        _token_dropout,
    ),
    "augmentation": _named("augmentation of the training signals", AUGMENTATION),
    "trunk": Axis(
        "the blocks of the trunk that are used, and those that are trained",
        "settings of lens.trunk joined by +, as skip_first=8+unlock_cls, and `whole`",
        trunks,
        trunk,
    ),
    "efficiency": Axis(
        "the trunk's weights and the share of training samples",
        "trunk@per cent, where the trunk is pretrained, random or whole, as whole@25",
        efficiencies,
        efficiency,
    ),
    "foundation": Axis(
        "the foundation, and with it the embedding space",
        "specs (open_clip:…, hf:…, lit:…), and widths of a `lit` space",
        _foundations,
        _foundation,
        label=lambda value: f"E {value}" if value.isdecimal() else value,
        refusal=_foundation_refusal,
    ),
}
