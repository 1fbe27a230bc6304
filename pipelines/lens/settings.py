"""settings: how a lens is trained."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat

from pipelines.lens.negatives.base import AnySampling
from pipelines.targets.step import kind_of_teacher
from vitlens_core.errors import ConfigError, unknown
from vitlens_core.losses.base import AnyLoss
from vitlens_core.losses.info_nce import InfoNce
from vitlens_core.precision import Precision

PROGRESS_FILE = "progress.json"


class TrainConfig(BaseModel):
    """Optimisation of a lens. Defaults follow ViT-Lens (arXiv 2311.16081)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(10_000, ge=1, description="optimizer steps")
    batch_size: int = Field(512, ge=2, description="samples per step, over all workers")
    learning_rate: float = Field(
        5e-4, gt=0, description="highest rate, after warm-up; it then falls to zero by a cosine"
    )
    warmup_steps: int = Field(1000, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.2, ge=0, description="decay of parameters of two or more axes")
    betas: tuple[float, float] = Field((0.9, 0.98), description="decay rates of AdamW's moments")
    gradient_clip: float = Field(10.0, gt=0, description="largest norm of the gradient")
    loss: AnyLoss = Field(
        InfoNce(), description="the loss; `kind` names a module of vitlens_core.losses"
    )
    negatives: AnySampling | None = Field(
        None, description="further negatives; `kind` names a module of pipelines.lens.negatives"
    )
    image_weight: float = Field(1.0, ge=0, description="weight of the loss against the image")
    text_weight: float = Field(1.0, ge=0, description="weight of the loss against the text")
    teacher_weights: dict[str, NonNegativeFloat] = Field(
        {}, description="weight of the loss against each teacher, by name; 1 where none is stated"
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

    def weights(self, teachers: Collection[str]) -> dict[str, float]:
        """Return the weights above 0, by kind of target: `image`, `text`, `teacher_<name>`.

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
        return above_zero
