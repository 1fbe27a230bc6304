"""What all question models share: tokens of the trunk, or embeddings, in; text out.

Most question models are transformers models, unmodified but for their image encoder, in whose
place stands a module that hands on what it is given: the trunk's tokens (`TowerModel`). Where the
model calls it with `pixel_values`, it gets these tokens, and goes on with its own weights.

Axes: B questions, P parts (image, signals) of one question, K tapped blocks, N tokens, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from threading import Event, Thread
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.extras import require
from vitlens_core.models.hf_trunks import VisionTower
from vitlens_core.models.trunk import Trunk
from vitlens_core.plugins.fit import check_trunk

# Where the parts of one question meet.
Fusion = Literal["vit", "former", "language", "embedding"]
MOST_TOKENS = 40


class QuestionModel(ABC):
    """A model that answers questions about signals.

    Attributes:
        source: folder or name on the hub.
        fusions: where it can take several parts together; the first is the default.
    """

    fusions: ClassVar[tuple[Fusion, ...]]

    def __init__(self, source: str, model: Any, words: Any) -> None:
        self.source = source
        self.model = model
        self.words = words
        # Generation goes on at the right end of every text of a batch.
        self.words.padding_side = "left"
        if self.words.pad_token is None:
            self.words.pad_token = self.words.eos_token

    @abstractmethod
    def inputs(
        self, parts: Sequence[Tensor], questions: Sequence[str], fusion: Fusion
    ) -> dict[str, Any]:
        """Return what the model's `forward` and `generate` take.

        Args:
            parts: of every part what the model reads, [B, …].
        """

    def fusion(self, wanted: Fusion | None) -> Fusion:
        """Return where parts meet. Raises ConfigError if this model cannot take them there."""
        allowed = self._allowed_fusions()
        if wanted is not None and wanted not in allowed:
            raise ConfigError(
                f"{self.source} cannot fuse at {wanted!r}; choose {' or '.join(allowed)}"
            )
        return wanted or self.fusions[0]

    def _allowed_fusions(self) -> tuple[Fusion, ...]:
        return self.fusions

    @torch.inference_mode()
    def answer(
        self,
        parts: Sequence[Tensor],
        questions: Sequence[str],
        fusion: Fusion | None = None,
        **options: Any,
    ) -> list[str]:
        """Answer one question about each of B signals.

        Args:
            options: of transformers' `generate`; greedy, up to 40 tokens, by default.

        Raises:
            InputError: the numbers of signals and questions differ, or a question holds a mark.
            ConfigError: the model cannot take several parts at `fusion`.
        """
        inputs = self._checked(parts, questions, fusion)
        ids = self.model.generate(**inputs, **self._options(options))
        return [text.strip() for text in self._decoded(ids, inputs)]

    def stream(
        self, parts: Sequence[Tensor], question: str, fusion: Fusion | None = None, **options: Any
    ) -> Iterator[str]:
        """Answer one question about one signal, piece by piece; errors as `answer`.

        A caller that wants no more pieces closes the iterator, or leaves its loop: generation then
        ends after the token at which it is.
        """
        inputs = self._checked(parts, [question], fusion)
        transformers = require("transformers", "ask", "a question model")
        streamer = transformers.TextIteratorStreamer(
            self.words, skip_prompt=not self._is_encoder_decoder, skip_special_tokens=True
        )
        failures: list[BaseException] = []
        is_over, generate = Event(), self._options(options)
        stopped = [*generate.pop("stopping_criteria", ()), partial(_is_over, is_over)]
        generate["stopping_criteria"] = transformers.StoppingCriteriaList(stopped)

        def write() -> None:
            try:
                with torch.inference_mode():
                    self.model.generate(**inputs, **generate, streamer=streamer)
            except BaseException as error:  # handed to the caller's thread below
                failures.append(error)
                streamer.on_finalized_text("", stream_end=True)

        thread = Thread(target=write, daemon=True)
        thread.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            is_over.set()
            thread.join()
        if failures:
            raise failures[0]

    def _checked(
        self, parts: Sequence[Tensor], questions: Sequence[str], fusion: Fusion | None
    ) -> dict[str, Any]:
        counts = {len(part) for part in parts}
        if counts != {len(questions)}:
            raise InputError(
                f"expected one question for each signal, found {len(questions)} questions and "
                f"{' and '.join(map(str, sorted(counts)))} signals"
            )
        self._check_words(questions)
        where = self.fusion(fusion)
        typed = [part.to(self.model.device, self.model.dtype) for part in parts]
        inputs = self.inputs(typed, questions, self.fusions[0] if where == "vit" else where)
        return {name: value.to(self.model.device) for name, value in inputs.items()}

    def _check_words(self, questions: Sequence[str]) -> None:
        """Refuse marks of the tokenizer: one of an image stands for tokens that are not there."""
        marks = {str(t) for t in self.words.added_tokens_decoder.values() if t.special}
        if found := sorted(m for m in marks if m and any(m in question for question in questions)):
            raise InputError(
                f"expected a question in words, found {found[0]}, a mark of the question model's "
                "tokenizer: leave it out"
            )

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        # Beams and sampling of a published generation_config are not the default here.
        greedy = {"do_sample": False, "num_beams": 1, "max_new_tokens": MOST_TOKENS}
        return greedy | {"pad_token_id": self.words.pad_token_id} | dict(options)

    @property
    def _is_encoder_decoder(self) -> bool:
        # BLIP-2's own config does not say so; its language model's does.
        language = getattr(self.model, "language_model", self.model)
        return bool(getattr(language.config, "is_encoder_decoder", False))

    def _decoded(self, ids: Tensor, inputs: Mapping[str, Tensor]) -> list[str]:
        # Fed embeddings, a model gives the new ids alone.
        is_new_alone = self._is_encoder_decoder or "input_ids" not in inputs
        start = 0 if is_new_alone else inputs["input_ids"].shape[1]
        return self.words.batch_decode(ids[:, start:], skip_special_tokens=True)

    def _ids(self, before: Sequence[int], questions: Sequence[str]) -> dict[str, Tensor]:
        """Return ids and mask of questions, each after the ids of its placeholders."""
        texts = self.words(list(questions))["input_ids"]
        return dict(self.words.pad({"input_ids": [[*before, *t] for t in texts]},
                                   return_tensors="pt"))  # fmt: skip


def _is_over(event: Event, ids: Tensor, *_: object) -> Tensor:
    """Tell transformers' `generate` of each of B texts [B, T] whether it ends: [B]."""
    return torch.full((len(ids),), event.is_set(), device=ids.device)


class TowerModel(QuestionModel):
    """A question model whose image encoder is replaced; its parts are tokens [B, K, N, W].

    Attributes:
        tower: its own vision tower, to which a lens must belong.
        taps: the blocks whose tokens it reads, as negative indices.
    """

    taps: tuple[int, ...] = (-1,)

    def __init__(self, source: str, model: Any, words: Any) -> None:
        super().__init__(source, model, words)
        self.tower: VisionTower = self._take()

    @abstractmethod
    def _take(self) -> VisionTower:
        """Take its vision tower apart, and put the module that hands tokens on in its place."""

    def check(self, trunk: Trunk, what: str) -> None:
        """Raise CheckpointError unless `trunk` is this model's own."""
        check_trunk(trunk, self.tower.trunk, what, self.source)

    def _allowed_fusions(self) -> tuple[Fusion, ...]:
        return ("vit", *self.fusions)
