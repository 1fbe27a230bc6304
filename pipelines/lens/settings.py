"""settings: how a lens is trained."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.lens.negatives.base import AnySampling
from vitlens_core.errors import ConfigError
from vitlens_core.losses.base import AnyLoss
from vitlens_core.losses.info_nce import InfoNce
from vitlens_core.precision import Precision

PROGRESS_FILE = "progress.json"


class TrainConfig(BaseModel):
    """Optimisation of a lens. Defaults follow ViT-Lens (arXiv 2311.16081)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(10_000, ge=1, description="optimizer steps")
    batch_size: int = Field(512, ge=2, description="samples per step, over all workers")
    learning_rate: float = Field(5e-4, gt=0, description="after warm-up; then a cosine to zero")
    warmup_steps: int = Field(1000, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.2, ge=0, description="on parameters of two axes or more")
    betas: tuple[float, float] = Field((0.9, 0.98), description="of AdamW")
    gradient_clip: float = Field(10.0, gt=0, description="largest norm of the gradient")
    loss: AnyLoss = Field(InfoNce(), description="a module of vitlens_core.losses: its `kind`")
    negatives: AnySampling | None = Field(
        None, description="further negatives, by a module of pipelines.lens.negatives: its `kind`"
    )
    image_weight: float = Field(1.0, ge=0, description="weight of the loss against the image")
    text_weight: float = Field(1.0, ge=0, description="weight of the loss against the text")
    teacher_weight: float = Field(
        1.0, ge=0, description="weight of the loss against the lens that teaches, if one does"
    )
    temperature: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="fixed (ImageBind); learned where unset"
    )
    label_positives: bool = Field(
        False, description="samples of one label are positives of each other (few classes)"
    )
    augmentation: bool = Field(
        True,
        description="random variants of every signal; off, they are seen as evaluation sees them",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="rows of a worker in memory at a time; the gradient is that of all of them, "
        "but batch norm sees as many",
    )
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="keep a moving average of the weights"
    )
    precision: Precision = Field(
        "auto", description="of forward and backward; `auto` takes bf16 where it is native"
    )
    shuffle_buffer: int = Field(1024, ge=1, description="samples mixed at a time")
    validate_every: int = Field(100, ge=1, description="steps")
    checkpoint_every: int = Field(500, ge=1, description="steps")
    seed: int = Field(0, description="of weights, targets drawn and augmentation")

    def weights(self, *, taught: bool) -> dict[str, float]:
        """Weight of every kind of target that counts: `image`, `text`, `teacher`.

        Args:
            taught: whether the foundation comes with a lens that teaches.

        Raises:
            ConfigError: none counts.
        """
        weights = {"image": self.image_weight, "text": self.text_weight}
        if taught:
            weights["teacher"] = self.teacher_weight
        counting = {kind: weight for kind, weight in weights.items() if weight}
        if not counting:
            raise ConfigError(
                "lens.train: nothing to train against; set image_weight or text_weight above 0"
                + (", or teacher_weight" if taught else ", or a lens that teaches as foundation")
            )
        return counting
