"""A model: some modalities, one embedding space.

Axes: B inputs, A and C two sets to compare, E embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from vitlens_core.api.encoders import (
    Encoder,
    OnDevice,
    Preparation,
    Stored,
    signal_encoder,
)
from vitlens_core.api.inputs import Prepare, check_options, listed, prepare_one
from vitlens_core.api.lenses import Origin
from vitlens_core.api.loading import open_encoders
from vitlens_core.api.pretrained import Pretrained
from vitlens_core.api.tokens import TokenSource
from vitlens_core.api.untrusted import UntrustedReader
from vitlens_core.api.verbs import Verbs
from vitlens_core.errors import ConfigError, InputError, unknown
from vitlens_core.export import export_onnx
from vitlens_core.foundation.base import Foundation
from vitlens_core.models.reference_config import ConfigSource
from vitlens_core.precision import Precision, autocast
from vitlens_core.prototypes import Prototypes
from vitlens_core.readers.pictures import read_rgb
from vitlens_core.signals.checks import raw_pixels


class Calibrated(NamedTuple):
    """Probabilities [A, C], rows summing to 1, and the temperature that made them."""

    probabilities: Tensor
    temperature: float


class Model(Pretrained, Verbs):
    """Encoders of several modalities into one embedding space; `vitlens_core.load` makes one.

    Attributes:
        modalities: names of the loaded modalities; those with a tower of their own come first.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        device: torch.device,
        precision: Precision,
        origin: Origin | None = None,
        base: Foundation | None = None,
    ) -> None:
        self._encoders = dict(encoders)
        self._origin = origin
        # Not named as its entry in config.json, which the hub would hand over for it.
        self._foundation = base
        self._device = device
        self._precision: Precision = precision
        self._untrusted: UntrustedReader | None = None

    @classmethod
    def load(
        cls,
        *sources: str | Path,
        modalities: Collection[str] | None = None,
        foundation: Foundation | str | Path | None = None,
        config: ConfigSource | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
    ) -> Self:
        """Load a model from lenses of one foundation, one published checkpoint or a foundation.

        Args:
            sources: one or several lenses (`lens.safetensors`, its folder, a folder that
                `save_pretrained` wrote, or `models:/…`), or one checkpoint of ViT-Lens, OpenShape
                or ImageBind (.safetensors or .pt). Without sources the model encodes image, video
                and text with `foundation`.
            modalities: modalities to hold in memory; by default all that the sources offer.
                The foundation of image, video and text is loaded whole for any of them.
            foundation: the lenses' foundation: an object, a spec, or a folder with
                foundation.json. By default the one beside the lens, else the one its spec names.
            config: sizes of a published checkpoint; by default those of ViT-Lens-L or
                ImageBind-Huge.
            precision: arithmetic of the towers; embeddings are fp32.

        Raises:
            ConfigError: a source, modality or foundation does not exist.
            CheckpointError: weights do not fit their config or their foundation.
        """
        device = torch.device(device)
        found = open_encoders(sources, modalities, foundation, config, device)
        return cls(found.encoders, device, precision, found.origin, found.foundation)

    @property
    def modalities(self) -> list[str]:
        return list(self._encoders)

    def settings(self, modality: str) -> Mapping[str, object]:
        """Return how a modality's signals are stored and prepared; {} for image, video and text."""
        tower = self._encoder(modality).tower
        return tower.settings() if tower else {}

    def temperature(self, modality: str) -> float:
        """Return the number that divides a modality's similarities into logits."""
        return self._encoder(modality).temperature

    def tower(self, modality: str) -> nn.Module:
        """Return the tower of a modality: prepared signals [B, …] → embeddings [B, E].

        Raises:
            ConfigError: the foundation encodes it, so that it has no tower of its own.
        """
        tower = self._encoder(modality).tower
        if tower is None or not isinstance(tower.tower, OnDevice):
            raise ConfigError(f"{modality} has no tower of its own: the foundation encodes it")
        return tower.tower.module

    def export_onnx(self, modality: str, path: str | Path) -> float:
        """Write the tower of a modality as ONNX, compare it with PyTorch, and return the largest
        difference; errors as `vitlens_core.export.export_onnx`, and ConfigError as `tower`."""
        module, encoder = self.tower(modality), self._encoder(modality)
        assert encoder.tower is not None
        first = encoder.tower.signal.example()
        # Two different signals: a batch in which all are alike would hide a tower that mixes them.
        stored = torch.from_numpy(np.stack([first, first[::-1]]))
        prepared = encoder.tower.tokenizer.prepare(stored, encoder.tower.signal)
        return export_onnx(module, prepared.to(self._device), path)

    def __repr__(self) -> str:
        """Return its modalities, device and precision, and the temperature of every lens."""
        lines = [f"Model of {', '.join(self.modalities)} on {self._device}, {self._precision}"]
        for name, encoder in self._encoders.items():
            if encoder.tower is not None:
                origin = "fitted on validation samples" if encoder.is_fitted else "of training"
                lines.append(f"  {name}: temperature {encoder.temperature:.4g}, {origin}")
        if self._origin is not None:
            lines.append(f"  from {self._origin.lens}")
        return "\n".join(lines)

    def adjusted(self, modality: str, **preparation: object) -> Model:
        """Return a model of the same weights with other settings of one modality, as `clips=6`.

        Raises:
            ConfigError: the setting does not exist, or the modality has none.
        """
        encoder = self._encoder(modality)
        if encoder.tower is None:
            raise ConfigError(f"{modality} has no preparation to adjust: the foundation encodes it")
        settings = encoder.tower.settings()
        if misspelt := [name for name in preparation if name not in settings]:
            raise ConfigError(f"{modality}: {unknown('setting', misspelt[0], settings)}")
        try:
            tower = encoder.tower.adjusted(**preparation)
        except ValidationError as error:
            raise ConfigError(f"{modality} does not take these settings: {error}") from error
        changed = signal_encoder(modality, tower, encoder.temperature, is_fitted=encoder.is_fitted)
        # Without an origin: the files of the lens state the settings before the change.
        encoders = {**self._encoders, modality: changed}
        return Model(encoders, self._device, self._precision, base=self._foundation)

    @property
    def foundation(self) -> Foundation | None:
        """The foundation in whose space it embeds; None for a published checkpoint."""
        return self._foundation

    def encode(
        self,
        inputs: Mapping[str, object],
        *,
        batch_size: int = 32,
        reader_options: Mapping[str, Mapping[str, object]] | None = None,
        trusted: bool = True,
    ) -> dict[str, Tensor]:
        """Embed each modality's inputs: {name: [B, E]}, unit norm, fp32, on the CPU.

        Args:
            inputs: lists of paths, bytes of files, pictures of Pillow or raw arrays, as the
                modality's module describes them; for text, strings are the text itself. A single
                input is a batch of one.
            batch_size: inputs that pass a tower at a time; it does not change the embeddings.
            reader_options: what the files do not say, by modality: {"imu": {"rate_hz": 50}}.
            trusted: False reads files and bytes in a child process without rights (no network,
                no other file, limits on memory and time); see `vitlens_core.sandbox`.

        Raises:
            ConfigError: a modality is not loaded, or an option is unknown.
            InputError: an input cannot be read or does not fit; the message has its index.

        Warns:
            InputWarning: a file lacked something that was replaced, such as colours.
        """
        options = reader_options or {}
        for name in (*inputs, *options):
            self._encoder(name)
            check_options(name, options.get(name, {}))
        return {
            name: self._encode(name, items, batch_size, options.get(name, {}), trusted)
            for name, items in inputs.items()
        }

    def preparation(self, name: str) -> Preparation:
        """Return the part of `encode` that reads and stores one input, without any weights.

        Its results go to `embed`. Callers use the two to read in one process and embed in another.

        Raises:
            ConfigError: the modality is not loaded.
        """
        return self._encoder(name).preparation

    def token_source(self, name: str) -> TokenSource:
        """Return what a modality gives to the trunk.

        Raises:
            ConfigError: the modality is not loaded, or no trunk of ours sees it.
        """
        source = self._encoder(name).tokens
        if source is None:
            raise ConfigError(
                f"{name} gives no tokens of a vision trunk: name image, or a modality of a lens"
            )
        return source

    @property
    def prototypes(self) -> Prototypes | None:
        """Prototypes of classes: those beside a lens whose foundation has no words."""
        return next((e.prototypes for e in self._encoders.values() if e.prototypes), None)

    @property
    def token_modalities(self) -> list[str]:
        """The modalities that a vision trunk of ours sees: those with a `token_source`."""
        return [name for name, encoder in self._encoders.items() if encoder.tokens is not None]

    def stored(self, name: str, given: object, *, trusted: bool = True) -> list[Stored]:
        """Read inputs of a modality as `encode` does, and store them so that they can be batched.

        Raises:
            ConfigError: the modality is not loaded.
            InputError: there is no input, or one cannot be read; the message has its index.
        """
        prepare, items = self._reading(name, trusted), listed(name, given)
        return [prepare_one(name, prepare, index, item, {}) for index, item in enumerate(items)]

    def raw_image(self, picture: object, *, trusted: bool = True) -> np.ndarray:
        """Read a picture in its full size: uint8 RGB [H, W, 3].

        Raises:
            InputError: it cannot be read.
        """
        if isinstance(picture, str | Path) and not trusted:
            if self._untrusted is None:
                self._untrusted = UntrustedReader()
            return self._untrusted.read_raw("image", Path(picture))
        if isinstance(picture, str | Path):
            return read_rgb(picture)
        return raw_pixels(np.asarray(picture), "an RGB image", "H", "W", 3)

    @torch.inference_mode()
    def embed(self, name: str, prepared: Sequence[Stored]) -> Tensor:
        """Embed one batch of results of `preparation`: [B, E], unit norm, fp32, on the CPU.

        Raises:
            ConfigError: the modality is not loaded.
        """
        with autocast(self._precision, self._device):
            embedded = self._encoder(name).embed(prepared).float()
        # Once more in fp32: a foundation normalises under autocast, perhaps in bf16.
        return F.normalize(embedded, dim=-1).cpu()

    @staticmethod
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        """Compute the cosines [A, C] of unit-norm a [A, E] and b [C, E].

        Raises:
            InputError: a or b is not [count, E], or their widths differ.
        """
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
            raise InputError(
                f"expected embeddings [A, E] and [C, E], found {list(a.shape)} and {list(b.shape)}"
            )
        return a @ b.T

    @staticmethod
    def fuse(
        embeddings: Mapping[str, Tensor], weights: Mapping[str, float] | None = None
    ) -> Tensor:
        """Sum the embeddings of the same B things with weights, and normalise: [B, E].

        Args:
            embeddings: by modality, [B, E] each.
            weights: by modality, of either sign; by default all 1.

        Raises:
            InputError: the shapes differ, a weight has no embedding (or the reverse), or a sum is
                zero.
        """
        weights = dict.fromkeys(embeddings, 1.0) if weights is None else weights
        shapes = {name: list(embedding.shape) for name, embedding in embeddings.items()}
        if not shapes or any(
            len(s) != 2 or s != next(iter(shapes.values())) for s in shapes.values()
        ):
            raise InputError(f"expected embeddings [B, E] of one shape, found {shapes}")
        if weights.keys() != embeddings.keys():
            raise InputError(
                f"expected one weight for each of {', '.join(embeddings)}; "
                f"found {', '.join(weights) or 'none'}"
            )
        total = torch.stack([weights[name] * embeddings[name] for name in embeddings]).sum(dim=0)
        # A shorter sum of unit vectors is rounding (fp32: 1e-7); `not >` refuses NaN as well.
        if not (total.norm(dim=-1) > 1e-6).all():
            raise InputError("the weighted embeddings cancel out: choose other weights")
        return F.normalize(total, dim=-1)

    def calibrated(
        self,
        similarities: Tensor,
        modality: str | None = None,
        *,
        temperature: float | None = None,
    ) -> Calibrated:
        """Turn similarities [A, C] into probabilities, if one of C candidates is right for each A.

        Args:
            modality: its temperature applies; by default that of the model's first modality.
            temperature: replaces it (fit one on held-out pairs for your own candidates).

        Raises:
            InputError: the similarities are not [A, C], or the temperature is not above 0.
            ConfigError: the modality is not loaded.
        """
        if similarities.ndim != 2 or not similarities.numel():
            raise InputError(f"expected similarities [A, C], found {list(similarities.shape)}")
        if temperature is None:
            temperature = self._encoder(modality or self.modalities[0]).temperature
        if not 0 < temperature < float("inf"):
            raise InputError(f"expected a temperature above 0, found {temperature}")
        return Calibrated((similarities.float() / temperature).softmax(dim=-1), temperature)

    def _encoder(self, name: str) -> Encoder:
        if name not in self._encoders:
            raise ConfigError(f"{name!r} is not loaded; there are: {', '.join(self.modalities)}")
        return self._encoders[name]

    def _reading(self, name: str, trusted: bool) -> Prepare:
        preparation = self.preparation(name)
        if trusted:
            return preparation
        if self._untrusted is None:
            self._untrusted = UntrustedReader()
        return partial(self._untrusted.prepare, preparation)

    def _encode(
        self,
        name: str,
        given: object,
        batch_size: int,
        options: Mapping[str, object],
        trusted: bool,
    ) -> Tensor:
        items = listed(name, given)
        if batch_size < 1:
            raise InputError(f"{name}: expected a batch size of 1 or more, found {batch_size}")
        # Read batch by batch, so that the raw inputs of one batch only are in memory.
        prepare, batches = self._reading(name, trusted), []
        for start in range(0, len(items), batch_size):
            stored = [
                prepare_one(name, prepare, index, items[index], options)
                for index in range(start, min(start + batch_size, len(items)))
            ]
            batches.append(self.embed(name, stored))
        return torch.cat(batches)
