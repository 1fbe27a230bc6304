"""What lenses do inside other models: ask, detect, imagine.

A model inherits these three verbs. Each takes the other model opened, or its folder or name.

Axes: B inputs, N tokens of the trunk, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitlens_core.api.asking import (
    Answer,
    by_modality,
    embedded_part,
    opened_question_model,
    question_parts,
    zero_shot,
)
from vitlens_core.errors import InputError
from vitlens_core.plugins.ask.base import TowerModel
from vitlens_core.plugins.ask.connected import ConnectedModel
from vitlens_core.plugins.detect import open_detector, windows
from vitlens_core.plugins.detect.detections import Detections
from vitlens_core.plugins.detect.owl import LEAST_SCORE, OwlDetector
from vitlens_core.plugins.imagine import Decoder, ImageStatistics, open_decoder

if TYPE_CHECKING:
    from PIL import Image

    from vitlens_core.api.model import Model
    from vitlens_core.plugins.ask.base import Fusion, QuestionModel

_GREY = 127  # of a plain picture


class Verbs:
    """The verbs of a model."""

    @torch.inference_mode()
    def tokens(
        self: Model,
        inputs: Mapping[str, object],
        *,
        block: int = -1,
        normed: bool = False,
    ) -> dict[str, Tensor]:
        """Return the trunk's tokens of each modality's inputs: {name: [B, N, W]}, on the CPU.

        Args:
            block: whose output; -1 is the last one, -2 the one before it.
            normed: through the norm before the readout, as the embedding is pooled.

        Raises:
            ConfigError: a modality has no tokens (text), or the trunk has no such block.
            InputError: an input cannot be read or does not fit.
        """
        found = {}
        for name, given in inputs.items():
            source = self.token_source(name)
            states = source.states(self.stored(name, given), (block,))[:, 0]
            found[name] = (
                (source.trunk.readout.final_norm(states) if normed else states).float().cpu()
            )
        return found

    def ask(
        self: Model,
        signal: object,
        question: str | Sequence[str],
        *,
        by: QuestionModel | str | Path | None = None,
        answers: Sequence[str] = (),
        fusion: Fusion | None = None,
        trusted: bool = True,
        **options: Any,
    ) -> list[Answer]:
        """Answer a question about each of B signals; nothing of the question model is trained.

        Args:
            signal: {modality: one input or a list}, or inputs of the model's first modality. Of
                several modalities, the inputs of the same index belong to one question.
            question: one for all, or one for each.
            by: a question model (`open_question_model`), its folder or name. Without it the
                nearest of `answers` is given, with its calibrated probability.
            fusion: where several modalities meet: `vit`, `former` or `language`; `embedding`
                behind a connector.
            options: of transformers' `generate`.

        Raises:
            ConfigError: there is neither a question model nor answers, or an extra is missing.
            CheckpointError: a lens was trained into another vision tower than the model's, or the
                connector on another foundation.
            InputError: an input cannot be read.
        """
        given = by_modality(self, signal)
        if by is None:
            return zero_shot(self, given, answers, trusted=trusted)
        opened = opened_question_model(by)
        parts = self._parts(opened, given, fusion, trusted=trusted)
        questions = [question] * len(parts[0]) if isinstance(question, str) else list(question)
        texts = opened.answer(parts, questions, fusion, **options)
        return [Answer(text, opened.source) for text in texts]

    def stream(
        self: Model,
        signal: object,
        question: str,
        *,
        by: QuestionModel | str | Path,
        fusion: Fusion | None = None,
        trusted: bool = True,
        **options: Any,
    ) -> Iterator[str]:
        """Answer a question about one signal, piece by piece; arguments and errors as `ask`."""
        opened = opened_question_model(by)
        parts = self._parts(opened, by_modality(self, signal), fusion, trusted=trusted)
        return opened.stream(parts, question, fusion, **options)

    def _parts(
        self: Model,
        by: QuestionModel,
        given: Mapping[str, object],
        fusion: Fusion | None,
        *,
        trusted: bool,
    ) -> list[Tensor]:
        by.fusion(fusion)  # refused before any file is read
        if isinstance(by, ConnectedModel):
            return embedded_part(self, by, given, trusted=trusted)
        assert isinstance(by, TowerModel), "there are two kinds of question model"
        for name in given:
            by.check(self.token_source(name).trunk, f"the model's {name}")
        stored = {name: self.stored(name, one, trusted=trusted) for name, one in given.items()}
        return question_parts(self, by, stored, fusion)

    def detect(
        self: Model,
        picture: object,
        queries: Mapping[str, object],
        *,
        by: OwlDetector | str | Path | None = None,
        least: float | None = None,
        trusted: bool = True,
    ) -> Detections:
        """Find in a picture what queries of any modality mean.

        Args:
            picture: a file, uint8 RGB [H, W, 3], or a picture of Pillow.
            queries: {modality: one input or a list}; numbered in this order.
            by: a detector (`open_detector`), its folder or name. Without it windows of the
                picture are embedded by the foundation, and scores are cosines.
            least: the lowest score that counts.

        Raises:
            ConfigError: an extra is missing, or the model encodes no images.
            CheckpointError: a lens was trained into other towers than the detector's.
            InputError: an input cannot be read, or queries have another width.
        """
        if not queries:
            raise InputError("expected queries by modality, found none")
        seen = self.raw_image(picture, trusted=trusted)
        if by is None:
            of_queries = torch.cat(list(self.encode(queries, trusted=trusted).values()))
            found = windows.detect(seen, of_queries, self._embed_crops)
            return found if least is None else found.best(len(found.scores), least)
        detector = open_detector(by) if isinstance(by, str | Path) else by
        for name in queries:
            # Words go through the text tower that lies beside the trunk of image.
            checked = name if name != "text" else "image"
            detector.check(self.token_source(checked).trunk, f"the model's {name}")
        of_queries = torch.cat(list(self.encode(queries, trusted=trusted).values()))
        return detector.detect(seen, of_queries, LEAST_SCORE if least is None else least)

    def _embed_crops(self: Model, crops: Sequence[np.ndarray]) -> Tensor:
        return self.encode({"image": list(crops)})["image"]

    def decoder(
        self: Model,
        source: str | Path,
        *,
        encoder: str | Path | None = None,
        adapter: str | Path | None = None,
        device: str = "cpu",
    ) -> Decoder:
        """Open a diffusion decoder for `imagine`; it must have been trained with the foundation.

        Args:
            source: folder or name of a pipeline of diffusers: unCLIP, Kandinsky 2.2 or Stable
                Diffusion.
            encoder: the decoder's image encoder, where it neither lies in its folder nor is known.
            adapter: the safetensors file of an IP-Adapter, on Stable Diffusion.

        Raises:
            ConfigError: diffusers is not installed, or it is no such pipeline.
            CheckpointError: it was trained with another foundation.
        """
        image = self.token_source("image")
        return open_decoder(
            source, image.spec, image.trunk, encoder=encoder, adapter=adapter, device=device
        )

    @torch.inference_mode()
    def image_statistics(
        self: Model,
        images: Sequence[object],
        signals: Mapping[str, object] | None = None,
        *,
        trusted: bool = True,
    ) -> ImageStatistics:
        """Measure what decoders expect of embeddings, on pictures and on signals of modalities.

        Raises:
            InputError: there are fewer than two pictures or signals of a modality, or an input
                cannot be read.
        """
        image = self.token_source("image")
        stored = self.stored("image", list(images), trusted=trusted)
        side_px = self.preparation("image").side_px or 0
        plain = np.full((side_px, side_px, 3), _GREY, np.uint8)
        *whole, empty = image.trunk(image.inputs([*stored, plain])).float().cpu()
        embedded = self.encode(signals or {}, trusted=trusted)
        return ImageStatistics.measure(torch.stack(whole), embedded, empty, image.trunk)

    def imagine(
        self: Model,
        inputs: Mapping[str, object],
        *,
        by: Decoder,
        statistics: ImageStatistics,
        weights: Mapping[str, float] | None = None,
        strength: float = 1.0,
        trusted: bool = True,
        **options: Any,
    ) -> list[Image.Image]:
        """Draw what inputs mean: one picture for each index of the inputs.

        Args:
            inputs: as `encode` takes them; of several modalities, those of one index together.
            by: what `decoder` opened.
            statistics: of the foundation (`image_statistics`).
            weights: by modality, of either sign; by default all 1.
            strength: share of the gap between modalities that is closed.
            options: `seed`, `steps`, and those of the pipeline.

        Raises:
            InputError: an input cannot be read, or the weighted embeddings cancel out.
        """
        embedded = self.encode(inputs, trusted=trusted)
        return self.draw(
            embedded, by=by, statistics=statistics, weights=weights, strength=strength, **options
        )

    def draw(
        self: Model,
        embedded: Mapping[str, Tensor],
        *,
        by: Decoder,
        statistics: ImageStatistics,
        weights: Mapping[str, float] | None = None,
        strength: float = 1.0,
        **options: Any,
    ) -> list[Image.Image]:
        """Draw embeddings of modalities, [B, E] each: the second half of `imagine`.

        Raises:
            InputError: the weighted embeddings cancel out.
        """
        # Each is moved from its own cone to that of images first: a sum has no modality.
        moved = {
            name: F.normalize(statistics.corrected(vectors, name, strength), dim=-1)
            for name, vectors in embedded.items()
        }
        fused = self.fuse(moved, weights)
        return by.draw(statistics.corrected(fused, "image"), statistics.empty, **options)

    def retrieve(
        self: Model,
        inputs: Mapping[str, object],
        among: Sequence[str | Path],
        *,
        weights: Mapping[str, float] | None = None,
        count: int = 1,
        trusted: bool = True,
    ) -> list[list[tuple[str | Path, float]]]:
        """Find the pictures nearest to the embedding that `imagine` would draw, with cosines.

        Raises:
            InputError: an input or a picture cannot be read.
        """
        fused = self.fuse(self.encode(inputs, trusted=trusted), weights)
        pictures = self.encode({"image": list(among)}, trusted=trusted)["image"]
        best = self.similarity(fused, pictures).topk(min(count, len(among)), dim=-1)
        return [
            [(among[index], value) for index, value in zip(row, values, strict=True)]
            for row, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
