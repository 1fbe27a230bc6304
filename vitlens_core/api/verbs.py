"""What lenses do inside other models: ask, detect, imagine.

A model inherits these three verbs. Each takes the other model opened, or its folder or name.

Axes: B inputs, N tokens of the trunk, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitlens_core import modalities
from vitlens_core.captions import class_prompts
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.plugins.ask import open_question_model
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

WITHOUT_MODEL = "zero-shot"
_GREY = 127  # of a plain picture


class Answer(NamedTuple):
    """An answer, and what gave it.

    Attributes:
        text: the answer.
        by: the question model, or `zero-shot`: then `text` is the nearest of given answers.
        probability: calibrated, of a zero-shot answer; a question model states none.
    """

    text: str
    by: str
    probability: float | None = None


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
        given = _by_modality(self, signal)
        if by is None:
            return _zero_shot(self, given, answers, trusted=trusted)
        opened = _opened(by)
        parts, count = _parts(self, opened, given, fusion, trusted=trusted)
        questions = [question] * count if isinstance(question, str) else list(question)
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
        opened = _opened(by)
        parts, _ = _parts(self, opened, _by_modality(self, signal), fusion, trusted=trusted)
        return opened.stream(parts, question, fusion, **options)

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
            InputError: there are fewer than two pictures, or an input cannot be read.
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


def _by_modality(model: Model, signal: object) -> dict[str, object]:
    given = signal if isinstance(signal, Mapping) else {model.modalities[0]: signal}
    if not given:
        raise InputError("expected a signal to ask about, found none")
    return {str(name): one for name, one in given.items()}


@torch.inference_mode()
def _parts(
    model: Model,
    by: QuestionModel,
    given: Mapping[str, object],
    fusion: Fusion | None,
    *,
    trusted: bool,
) -> tuple[list[Tensor], int]:
    """Return what `by` reads of every part of the questions, and B."""
    where = by.fusion(fusion)
    if isinstance(by, ConnectedModel):
        return _embedded_part(model, by, given, trusted=trusted)
    assert isinstance(by, TowerModel), "there are two kinds of question model"
    return _token_parts(model, by, given, where, trusted=trusted)


def _embedded_part(
    model: Model, by: ConnectedModel, given: Mapping[str, object], *, trusted: bool
) -> tuple[list[Tensor], int]:
    """Return the embeddings [B, E] of the questions' signals, summed over modalities, and B."""
    base = model.foundation
    # Before anything is read: embeddings of another space would be answered about all the same.
    by.check_foundation(
        base.digest() if base else None, base.spec if base else "a published checkpoint"
    )
    fused = model.fuse(model.encode(given, trusted=trusted))
    return [fused], len(fused)


def _token_parts(
    model: Model,
    by: TowerModel,
    given: Mapping[str, object],
    where: Fusion,
    *,
    trusted: bool,
) -> tuple[list[Tensor], int]:
    """Return the tokens [B, K, N, W] of every part of the questions, and B."""
    sources = {name: model.token_source(name) for name in given}
    for name, source in sources.items():
        by.check(source.trunk, f"the model's {name}")
    stored = {name: model.stored(name, one, trusted=trusted) for name, one in given.items()}
    counts = {name: len(items) for name, items in stored.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"expected as many inputs of every modality, found {counts}")
    if where == "vit":
        fed = [sources[name].inputs(items) for name, items in stored.items()]
        # A lens may have trained parts of its trunk; images take the trunk of any lens.
        names = sorted(sources, key=lambda name: name == "image")
        states = sources[names[0]].trunk.states(fed, by.taps)
        parts = [torch.stack(states, dim=1)]
    else:
        parts = [sources[name].states(items, by.taps) for name, items in stored.items()]
    return parts, next(iter(counts.values()))


def _zero_shot(
    model: Model, given: Mapping[str, object], answers: Sequence[str], *, trusted: bool
) -> list[Answer]:
    if not answers:
        raise ConfigError(
            "no question model is given: name one (by=…), or the answers to choose among "
            "(answers=[…]), of which zero-shot classification then takes the nearest"
        )
    embedded = model.encode(given, trusted=trusted)
    first = next(iter(given))
    templates = modalities.load(first).templates
    prompts = [model.encode({"text": class_prompts(a, templates)})["text"] for a in answers]
    classes = F.normalize(torch.stack([of_class.mean(dim=0) for of_class in prompts]), dim=-1)
    similarities = model.similarity(model.fuse(embedded), classes)
    best = model.calibrated(similarities, first).probabilities.max(dim=-1)
    return [
        Answer(answers[int(index)], WITHOUT_MODEL, float(value))
        for value, index in zip(best.values, best.indices, strict=True)
    ]


def _opened(by: QuestionModel | str | Path) -> QuestionModel:
    # transformers is imported by this only; most models answer no questions.
    return open_question_model(by) if isinstance(by, str | Path) else by
