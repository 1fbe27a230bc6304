"""slopes: what a plan multiplies by: measured and stated figures, and prices."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from vitlens_core.errors import ConfigError, unknown

FILE = Path(__file__).parent / "slopes.yaml"


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Figures):
    """Slopes of infra/scale.md."""

    render_core_s: PositiveFloat = Field(description="rendering of an object, of one core [s]")
    glb_bytes: PositiveFloat = Field(description="file of a shipped object")
    render_bytes_per_view: PositiveFloat = Field(description="of 224² pixels")
    shard_bytes_per_pixel: PositiveFloat = Field(description="of a view in a shard")


class Gpu(_Figures):
    """A kind of GPU."""

    tflops: PositiveFloat = Field(description="dense peak in bf16 [TFLOP/s]")
    memory_gb: PositiveFloat = Field(description="memory [GB]")
    multiplies_bf16: bool = Field(True, description="natively; else precision `auto` is fp32")
    usd_per_hour: float = Field(ge=0, description="price [USD/h]")


class Stated(_Figures):
    """What nobody measured here."""

    objaverse_glb_bytes: PositiveFloat = Field(description="mean file of Objaverse")
    gpu: str = Field(description="the kind of GPU that is planned for")
    gpus: dict[str, Gpu]
    utilization: float = Field(gt=0, le=1, description="share of the peak that a step reaches")
    core_usd_per_hour: float = Field(ge=0, description="price of a core [USD/h]")
    gb_month_usd: float = Field(ge=0, description="price of storage [USD/GB/month]")

    @model_validator(mode="after")
    def _check_gpu(self) -> Stated:
        if self.gpu not in self.gpus:
            raise ValueError(unknown("gpu", self.gpu, self.gpus))
        return self


class Slopes(_Figures):
    """The content of a file of slopes."""

    measured: Measured
    stated: Stated

    @property
    def gpu(self) -> Gpu:
        return self.stated.gpus[self.stated.gpu]

    def gpu_hours(self, flops: float) -> float:
        """Return the GPU-hours of as many operations."""
        return flops / (self.gpu.tflops * 1e12 * self.stated.utilization) / 3600


def read_slopes(path: Path | None = None) -> Slopes:
    """Read a file of slopes, by default the shipped one (`ConfigError`: another format)."""
    path = path or FILE
    try:
        return Slopes.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"{path} is no file of slopes like {FILE.name}: {error}; copy the shipped one"
        ) from error
