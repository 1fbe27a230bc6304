"""settings: how a lens is trained."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from pipelines.lens.negatives.base import AnySampling
from pipelines.targets.step import TOKENS, kind_of_teacher
from vitlens_core.errors import ConfigError, unknown
from vitlens_core.losses.base import AnyLoss
from vitlens_core.losses.info_nce import InfoNce
from vitlens_core.precision import Precision

PROGRESS_FILE = "progress.json"

Schedule = Literal["cosine", "staircase", "constant"]
# Parts of a tower, then the logit scale, then the loss's own parameters.
Part = Literal["tokenizer", "lens", "trunk", "head", "scale", "loss"]


class HardNegatives(BaseModel):
    """Batches that hold neighbours: each sample comes with some of its nearest by a target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: int = Field(
        2, ge=2, description="samples of a batch that come together: one, and its neighbours"
    )
    nearest: int = Field(
        31, ge=1, description="nearest samples of each, among which its neighbours are drawn"
    )
    by: Literal["image", "text"] = Field("image", description="kind of target that is compared")

    @model_validator(mode="after")
    def _check_group(self) -> HardNegatives:
        if self.group - 1 > self.nearest:
            raise ValueError(
                f"group {self.group} needs {self.group - 1} neighbours; nearest is {self.nearest}"
            )
        return self


class TrainConfig(BaseModel):
    """Optimisation of a lens. Defaults follow ViT-Lens (arXiv 2311.16081)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(10_000, ge=1, description="optimizer steps")
    batch_size: int = Field(512, ge=2, description="samples per step, over all workers")
    learning_rate: float = Field(
        5e-4, gt=0, description="highest rate, after warm-up; it then falls as `schedule` says"
    )
    warmup_steps: int = Field(1000, ge=0, description="steps of linear warm-up")
    schedule: Schedule = Field(
        "cosine",
        description="`cosine` falls to zero at the last step; `staircase` multiplies the rate by "
        "`staircase_factor` every `staircase_steps`; `constant` keeps it",
    )
    staircase_steps: int = Field(
        10_000, ge=1, description="steps between two reductions of `staircase`, from step 0 on"
    )
    staircase_factor: float = Field(
        0.95, gt=0, le=1, description="what `staircase` multiplies the rate by, in (0, 1]"
    )
    rate_factors: dict[Part, NonNegativeFloat] = Field(
        {}, description="factor of the rate of a part of the tower or of the loss; 1 if not stated"
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor of the rate from one trunk block to the block before it, in (0, 1]; "
        "the last block has it once",
    )
    weight_decay: float = Field(0.2, ge=0, description="decay of parameters of two or more axes")
    betas: tuple[float, float] = Field((0.9, 0.98), description="decay rates of AdamW's moments")
    epsilon: float = Field(1e-6, gt=0, description="what AdamW adds to the root of a moment")
    gradient_clip: float | None = Field(
        10.0, gt=0, description="largest norm of the gradient; null: any"
    )
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of samples for which a branch of the last trunk block is left out, in "
        "[0, 1); it rises linearly from 0 at the first block",
    )
    token_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the trunk's input tokens that a training step leaves out, in [0, 1): "
        "latents of a perceiver, else patches",
    )
    mix_up: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples that are mixed with another of the batch, target and signal",
    )
    mix_up_beta: float = Field(
        10.0, gt=0, description="both parameters of the beta distribution of the mixing share"
    )
    loss: AnyLoss = Field(
        InfoNce(), description="the loss; `kind` names a module of vitlens_core.losses"
    )
    negatives: AnySampling | None = Field(
        None, description="further negatives; `kind` names a module of pipelines.lens.negatives"
    )
    hard_negatives: HardNegatives | None = Field(
        None, description="batches drawn by nearest neighbours of the targets; unset: at random"
    )
    image_weight: float = Field(1.0, ge=0, description="weight of the loss against the image")
    text_weight: float = Field(1.0, ge=0, description="weight of the loss against the text")
    teacher_weights: dict[str, NonNegativeFloat] = Field(
        {}, description="weight of the loss against each teacher, by name; 1 where none is stated"
    )
    token_weight: float = Field(
        0.0,
        ge=0,
        exclude_if=lambda weight: not weight,
        description="weight of the auxiliary loss of the lens's tokens at the readout against "
        "those of the image (`targets.token_views`); for lenses inside question models",
    )
    temperature: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="fixed temperature (ImageBind); unset: learned"
    )
    label_positives: bool = Field(
        False, description="whether samples of one label are positives (for few classes)"
    )
    augmentation: bool = Field(
        True,
        description="train on random variants of every signal; off: on signals as in evaluation",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="rows of a worker in a forward pass; the gradient is that of all its rows, but "
        "batch norm uses the statistics of these",
    )
    accumulation: int | None = Field(
        None,
        ge=1,
        description="forward passes of a worker per step (the papers' `accum_freq`), instead of "
        "`micro_batch`; `batch_size` stays that of the step",
    )
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="decay of a moving average of the weights; unset: none"
    )
    precision: Precision = Field(
        "auto", description="number format of the passes; `auto`: bf16 if the hardware has it"
    )
    shuffle_buffer: int = Field(1024, ge=1, description="samples in a lane's shuffle buffer")
    validate_every: int = Field(100, ge=1, description="steps between two validations")
    checkpoint_every: int = Field(500, ge=1, description="steps between two checkpoints")
    share: float = Field(
        1.0, gt=0, le=1, description="share of the training samples that are trained on, in (0, 1]"
    )
    mirror_weights: dict[str, PositiveFloat] = Field(
        {},
        description="how often samples of further mirrors (objects.more) are drawn, by name, where "
        "those of the first have 1; the most frequent are drawn once an epoch",
    )
    seed: int = Field(0, description="seed of weights, drawn targets and augmentation")

    @model_validator(mode="after")
    def _no_mixture_of_several(self) -> TrainConfig:
        if self.mix_up and self.loss.positives == "all":
            raise ValueError(
                "mix_up mixes one target of a sample with one of another; state mix_up: 0, or "
                "loss.positives: drawn"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_divide(self) -> TrainConfig:
        if self.accumulation is not None and self.micro_batch is not None:
            raise ValueError("micro_batch and accumulation exclude each other; state one")
        if self.token_weight and (self.token_dropout or self.mix_up):
            raise ValueError(
                "token_weight compares every token with that of one image: set token_dropout and "
                "mix_up to 0, or token_weight"
            )
        if self.token_weight and self.loss.positives == "all":
            raise ValueError(
                "token_weight compares with the image that was drawn: state loss.positives: drawn, "
                "or token_weight: 0"
            )
        if self.hard_negatives and self.batch_size % self.hard_negatives.group:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into groups of "
                f"{self.hard_negatives.group} (hard_negatives.group)"
            )
        if self.hard_negatives and (self.share < 1 or self.mirror_weights):
            raise ValueError(
                "hard_negatives draw neighbours from all training samples, whatever share and "
                "mirror_weights leave out; state one or the other"
            )
        return self

    def rows_per_forward(self, workers: int) -> int:
        """Return the rows of one of `workers` in a forward pass."""
        rows = -(-self.batch_size // max(1, workers))
        return self.micro_batch or -(-rows // (self.accumulation or 1))

    def check_without_text(self, spec: str) -> None:
        """Raise ConfigError if it trains against text, which a foundation does not have."""
        if self.text_weight:
            raise ConfigError(
                f"lens.train.text_weight: the foundation {spec} has no text tower; set it to 0. "
                "Images, and lenses that teach, are then the targets, and classes are known by "
                "their training pictures"
            )
        if self.hard_negatives and self.hard_negatives.by == "text":
            raise ConfigError(
                f"lens.train.hard_negatives.by: the foundation {spec} has no text tower; choose "
                "image"
            )

    def weights(self, teachers: Collection[str]) -> dict[str, float]:
        """Return the weights above 0, by kind of target.

        The kinds are `image`, `text`, `teacher_<name>` and `tokens`.

        Args:
            teachers: names of the lenses that teach.

        Raises:
            ConfigError: all weights are 0, or one is for a teacher that does not exist.
        """
        for name in self.teacher_weights:
            if name not in teachers:
                raise ConfigError(
                    f"lens.train.teacher_weights: {unknown('teacher', name, teachers)}"
                )
        weights = {"image": self.image_weight, "text": self.text_weight}
        weights |= {kind_of_teacher(t): self.teacher_weights.get(t, 1.0) for t in teachers}
        above_zero = {kind: weight for kind, weight in weights.items() if weight}
        if not above_zero:
            raise ConfigError(
                "lens.train: nothing to train against; set image_weight or text_weight above 0"
                ", or name a lens that teaches under `teachers`"
            )
        if self.token_weight:
            above_zero[TOKENS] = self.token_weight
        return above_zero
