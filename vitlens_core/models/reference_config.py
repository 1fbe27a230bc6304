"""The schema of the published towers' sizes.

A config is read from JSON or from a mapping; unknown keys and impossible sizes are refused.
Widths are in channels; patches, kernels, strides and lengths in pixels, samples, frames or mel
bins; heads, layers, latents and groups are counts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vitlens_core.errors import ConfigError

Count = Annotated[int, Field(gt=0)]

# The factors of ImageBind's unit-norm embeddings by modality (appendix B); vision has none.
LOGIT_SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}


class Sizes(BaseModel):
    """Base of every section: it cannot be changed and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VitShape(Sizes):
    """The sizes of a CLIP vision transformer, without its number of blocks."""

    width: Count
    heads: Count
    patch: Count
    image_size: Count
    embed_dim: Count
    mlp_ratio: float = Field(4.0, gt=0)

    @model_validator(mode="after")
    def _check_patch(self) -> Self:
        if self.patch > self.image_size:
            raise ValueError(f"a patch of {self.patch} exceeds the image of {self.image_size}")
        return self

    @property
    def num_tokens(self) -> int:
        """Number of an image's patches, which is the size of the positional table without CLS."""
        return (self.image_size // self.patch) ** 2


class VitSizes(VitShape):
    """The ViT that every ViT-Lens tower contains."""

    layers: Count


class TrimmedVitSizes(VitShape):
    """A ViT whose first blocks were dropped; its weights number the others from 0."""

    layers_total: Count
    layers_skipped_first: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if self.layers_skipped_first >= self.layers_total:
            raise ValueError(
                f"skipping {self.layers_skipped_first} of {self.layers_total} blocks leaves none"
            )
        return self

    def trimmed(self) -> VitSizes:
        """Return the sizes of the ViT without the dropped blocks."""
        shape = self.model_dump(include=set(VitShape.model_fields))
        return VitSizes(layers=self.layers_total - self.layers_skipped_first, **shape)


class TextSizes(Sizes):
    """The CLIP text transformer."""

    context_length: Count
    vocab_size: Count
    width: Count
    heads: Count
    layers: Count


class LensSizes(Sizes):
    """What the lenses of all modalities share."""

    num_latents: Count
    latent_dim: Count
    latent_heads: Count
    latent_dim_head: Count
    cross_heads: Count
    cross_dim_head: Count


class DeepLensSizes(LensSizes):
    """A lens with its own depth."""

    depth: Count
    self_per_cross_attn: Count


class LensDepth(Sizes):
    """Depth of one modality's lens; its other sizes are under `lens`."""

    lens_depth: Count
    self_per_cross_attn: Count


class PointCloudSizes(LensDepth):
    """Point-BERT tokenizer of xyz and its lens."""

    tokenizer: Literal["pointbert"]
    num_group: Count
    group_size: Count
    encoder_dims: Count
    trans_dim: Count


class DepthSizes(Sizes):
    """Patches of the ViT's size, with a positional table of their own."""

    lens: Literal["identity"]


class AudioSizes(LensDepth):
    """Patches of the ViT's size over a spectrogram."""

    mel_bins: Count
    target_length: Count
    fstride: Count
    tstride: Count


class TactileSizes(Sizes):
    """The image tower's own layers, tuned."""

    lens: None


class EegSizes(LensDepth):
    """Windows over a series of `chans` channels."""

    chans: Count
    time_len: Count
    window_size: Count
    stride: Count


class SetAbstractionSizes(Sizes):
    """Set-abstraction tokenizer of xyz and further channels; `radius` in the unit sphere."""

    kind: Literal["pnsa"]
    in_channel: Count
    radius: float = Field(gt=0)
    num_group: Count
    group_size: Count
    encoder_dims: Count
    trans_dim: Count


def _check_lens_fits(lens: LensSizes, vit: VitShape) -> None:
    if (lens.latent_dim, lens.num_latents) != (vit.width, vit.num_tokens):
        # A ValueError, which pydantic reports with the field; `read_config` turns it into ours.
        raise ValueError(
            f"the lens yields {lens.num_latents} latents of width {lens.latent_dim}, "
            f"its ViT takes {vit.num_tokens} tokens of width {vit.width}"
        )


class VitLensConfig(Sizes):
    """The ViT-Lens towers of one checkpoint; without a section there is no tower."""

    comment: str = ""
    vit: VitSizes
    text: TextSizes | None = None
    lens: LensSizes | None = None
    pc: PointCloudSizes | None = None
    depth: DepthSizes | None = None
    audio: AudioSizes | None = None
    tactile: TactileSizes | None = None
    eeg: EegSizes | None = None

    @model_validator(mode="after")
    def _check_lens(self) -> Self:
        if self.lens is not None:
            _check_lens_fits(self.lens, self.vit)
        elif self.pc or self.audio or self.eeg:
            raise ValueError("pc, audio and eeg need the section `lens`")
        return self


class OpenShapeConfig(Sizes):
    """The 3D tower trained on OpenShape triplets."""

    comment: str = ""
    vit: TrimmedVitSizes
    lens: DeepLensSizes
    tokenizer: SetAbstractionSizes

    @model_validator(mode="after")
    def _check_lens(self) -> Self:
        _check_lens_fits(self.lens, self.vit)
        return self


class ImageBindTower(Sizes):
    """Transformer of one modality."""

    embed_dim: Count
    blocks: Count
    heads: Count


class ImageBindVision(ImageBindTower):
    """Patches of short videos; `kernel` is (frames, height, width)."""

    kernel: tuple[Count, Count, Count]
    image_size: Count = 224


class ImageBindText(ImageBindTower):
    """CLIP's vocabulary and context."""

    context_length: Count = 77
    vocab_size: Count = 49408


class ImageBindAudio(ImageBindTower):
    """Overlapping patches over a spectrogram."""

    kernel: Count
    stride: Count
    mel_bins: Count
    target_len: Count


class ImageBindImage(ImageBindTower):
    """Patches of a one-channel image: depth and thermal."""

    kernel: Count
    image_size: Count = 224


class ImageBindImu(ImageBindTower):
    """Windows over accelerometer and gyroscope; 2000 samples are 5 s."""

    kernel: Count
    channels: Count = 6
    length: Count = 2000


AnyImageBindTower = ImageBindVision | ImageBindText | ImageBindAudio | ImageBindImage | ImageBindImu


class ImageBindConfig(Sizes):
    """ImageBind's towers; without a section there is no tower."""

    comment: str = ""
    out_embed_dim: Count
    vision: ImageBindVision | None = None
    text: ImageBindText | None = None
    audio: ImageBindAudio | None = None
    depth: ImageBindImage | None = None
    thermal: ImageBindImage | None = None
    imu: ImageBindImu | None = None

    def towers(self) -> dict[str, AnyImageBindTower]:
        """Return the sections that are present, by modality."""
        sections = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: sizes for name, sizes in sections if isinstance(sizes, AnyImageBindTower)}


Config = TypeVar("Config", VitLensConfig, OpenShapeConfig, ImageBindConfig)
ConfigSource = BaseModel | Mapping[str, object] | str | Path


def read_config(source: ConfigSource, schema: type[Config]) -> Config:
    """Read a config from a mapping or from a JSON file's path; return one that is read already.

    Raises:
        ConfigError: the file is missing or not JSON, a key is unknown, or a size is impossible.
    """
    if isinstance(source, schema):
        return source
    try:
        if isinstance(source, str | Path):
            return schema.model_validate_json(Path(source).read_bytes())
        return schema.model_validate(source)
    except OSError as error:
        raise ConfigError(f"cannot read the config {source}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"not a valid {schema.__name__}: {error}") from error
