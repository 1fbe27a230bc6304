"""A frozen causal language model that reads soft tokens among its words.

A prompt has one place for a soft token; the words before and after it are the model's own input
embeddings. Names are scored by the log-likelihood of their tokens after a prompt.

Axes: B signals, K names, T tokens, W width of input embeddings, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.extras import require
from vitlens_core.models.weights import digest_of_tensors
from vitlens_core.plugins.opening import model_type, opened

_EXTRA, _WHAT = "ask", "a language model"
_CAUSAL = "transformers.models.auto.modeling_auto"  # lists the types that are
_TOGETHER = 16  # sequences that pass the model at a time: their logits are [B, V], V up to 260,000
_PLACE = "\x00"  # of the soft token in a text; no tokenizer's template writes it
_NO_LABEL = -100  # is left out of a cross entropy


class Prompt(NamedTuple):
    """The words around a soft token."""

    before: str
    after: str


# The name follows after a blank. None has an article before the name: "a" would favour some.
NAMING = (
    Prompt("Object:", "\nName of the object:"),
    Prompt("The picture shows", ". In one word, this is called:"),
    Prompt("What is", "? Answer:"),
)
_QUESTION = "Here is " + _PLACE + ".\n{}"
_PLAIN_QUESTION = "Here is " + _PLACE + ".\nQuestion: {}\nAnswer:"


class LanguageModel:
    """A causal language model of transformers; nothing of it is trained.

    Attributes:
        source: folder or name on the hub.
        digest: SHA-256 of its weights in the type they were published in.
        width: W.
    """

    def __init__(self, source: str, model: Any, words: Any, digest: str) -> None:
        self.source, self.model, self.words, self.digest = source, model, words, digest
        self.width: int = model.get_input_embeddings().weight.shape[1]
        self._keeps_last = "logits_to_keep" in signature(model.forward).parameters

    def embedded(self, ids: Sequence[int] | Tensor) -> Tensor:
        """Return the input embeddings of ids [..., T]: [..., T, W]."""
        asked = torch.as_tensor(ids, dtype=torch.long, device=self.model.device)
        return self.model.get_input_embeddings()(asked)

    def of_word(self, name: str) -> Tensor:
        """Return the mean input embedding of a name's tokens: fp32 [W]."""
        return self.embedded(self.name_ids(NAMING[0], name)).float().mean(dim=0)

    def name_ids(self, prompt: Prompt, name: str) -> list[int]:
        """Return the ids of a name as it stands after a prompt.

        Raises:
            CheckpointError: the tokenizer runs the prompt's end and the name together.
        """
        # Together with the prompt: many tokenizers begin a text of its own with another token.
        whole, lead = self._ids(f"{prompt.after} {name}"), self._ids(prompt.after)
        if whole[: len(lead)] != lead or len(whole) == len(lead):
            raise CheckpointError(
                f"{self.source}: its tokenizer does not keep {prompt.after!r} and {name!r} apart"
            )
        return whole[len(lead) :]

    def prompted(self, prompt: Prompt, soft: Tensor) -> Tensor:
        """Return the input embeddings [B, T, W] of a prompt around soft tokens [B, W]."""
        before = [*self._begin(), *self._ids(prompt.before)]
        pieces = [self.embedded(before), soft[:, None], self.embedded(self._ids(prompt.after))]
        kind = self.model.dtype
        return torch.cat([
            piece.to(kind) if piece.ndim == 3 else piece.expand(len(soft), -1, -1)
            for piece in pieces
        ], dim=1)  # fmt: skip

    def asked(self, question: str, soft: Tensor) -> Tensor:
        """Return the input embeddings [T, W] of a question about one soft token [W]."""
        before, after = self._question(question)
        pieces = [self.embedded(before), soft[None].to(self.model.dtype), self.embedded(after)]
        return torch.cat(pieces)

    def named(self, prompt: Prompt, name: str) -> Tensor:
        """Return the input embeddings [1, T, W] of a prompt with a name as its soft token."""
        ids = [*self._begin(), *self._ids(f"{prompt.before} {name}{prompt.after}")]
        return self.embedded(ids)[None]

    def loss(self, prompt: Prompt, soft: Tensor, names: Sequence[str]) -> Tensor:
        """Return the mean cross entropy of each signal's name after a prompt.

        Args:
            soft: [B, W].
            names: B of them.
        """
        ids = [self.name_ids(prompt, name) for name in names]
        longest = max(map(len, ids))
        # Padded at the right, which earlier tokens of a causal model do not see.
        labels = torch.tensor([[*one, *[_NO_LABEL] * (longest - len(one))] for one in ids])
        labels = labels.to(self.model.device)
        words = self.embedded(labels[:, :-1].clamp(min=0))
        logits = self._last_logits(torch.cat([self.prompted(prompt, soft), words], 1), longest)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_NO_LABEL)

    @torch.inference_mode()
    def log_likelihoods(self, soft: Tensor, names: Sequence[str]) -> Tensor:
        """Return names' log-likelihoods after soft tokens [B, W], mean over `NAMING`: [B, K]."""
        return torch.stack([
            torch.cat([self.scores(p, self.prompted(p, some), names)
                       for some in soft.split(_TOGETHER)])
            for p in NAMING
        ]).mean(dim=0)  # fmt: skip

    @torch.inference_mode()
    def scores(self, prompt: Prompt, prefix: Tensor, names: Sequence[str]) -> Tensor:
        """Return the log-likelihood of each name after input embeddings [B, T, W]: fp32 [B, K]."""
        logits, cache = self._begun(prefix)
        next_ids = F.log_softmax(logits, dim=-1)
        columns = []
        for ids in (self.name_ids(prompt, name) for name in names):
            column = next_ids[:, ids[0]]
            if len(ids) > 1:
                words = self.embedded(ids[:-1]).expand(len(prefix), -1, -1)
                # A model adds to the cache that it is given.
                then = self.model(inputs_embeds=words, past_key_values=deepcopy(cache)).logits
                further = torch.tensor(ids[1:], device=then.device).expand(len(prefix), -1)
                chosen = F.log_softmax(then.float(), dim=-1).gather(2, further[..., None])
                column = column + chosen.sum(dim=(1, 2))
            columns.append(column)
        return torch.stack(columns, dim=1).cpu()

    def _begun(self, prefix: Tensor) -> tuple[Tensor, Any]:
        """Return the next token's logits [B, V] after input embeddings [B, T, W], and the cache.

        Raises:
            ConfigError: the model keeps no cache of keys and values, as recurrent ones do not.
        """
        kept = {"logits_to_keep": 1} if self._keeps_last else {}
        found = self.model(inputs_embeds=prefix, use_cache=True, **kept)
        cache = getattr(found, "past_key_values", None)
        if cache is None:
            raise ConfigError(
                f"{self.source} keeps no keys and values; expected a model of attention alone"
            )
        return found.logits[:, -1].float(), cache

    @torch.inference_mode()
    def greedy(self, prefix: Tensor, tokens: int) -> list[str]:
        """Continue input embeddings [B, T, W] greedily by some tokens."""
        texts: list[str] = []
        for some in prefix.split(_TOGETHER):
            mask = torch.ones(some.shape[:2], dtype=torch.long, device=some.device)
            ids = self.model.generate(
                inputs_embeds=some, attention_mask=mask, do_sample=False, num_beams=1,
                max_new_tokens=tokens, pad_token_id=self._padding(),
            )  # fmt: skip
            texts += self.words.batch_decode(ids, skip_special_tokens=True)
        return texts

    def _padding(self) -> int:
        pad = self.words.pad_token_id
        return self.words.eos_token_id if pad is None else pad

    def _last_logits(self, inputs: Tensor, count: int) -> Tensor:
        """Return the logits of the last `count` places: fp32 [B, count, V]."""
        # Of all places they would be the largest tensor by far.
        kept = {"logits_to_keep": count} if self._keeps_last else {}
        logits = self.model(inputs_embeds=inputs, use_cache=False, **kept).logits
        return logits[:, -count:].float()

    def _begin(self) -> list[int]:
        begin = self.words.bos_token_id
        return [begin] if begin is not None and self.words("")["input_ids"][:1] == [begin] else []

    def _ids(self, text: str) -> list[int]:
        return self.words(text, add_special_tokens=False)["input_ids"]

    def _question(self, question: str) -> tuple[list[int], list[int]]:
        """Return the ids before and after the place of the soft token."""
        if _PLACE in question:
            raise InputError("expected a question in words, found a null character in it")
        begin: list[int] = []
        if self.words.chat_template:
            content = _QUESTION.format(question)
            text = self.words.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
        else:
            text, begin = _PLAIN_QUESTION.format(question), self._begin()
        before, _, after = text.partition(_PLACE)
        return [*begin, *self._ids(before.rstrip(" "))], self._ids(after)


def check_kind(source: str | Path) -> None:
    """Check by its config that a model is a causal language model; nothing of it is loaded.

    Raises:
        ConfigError: transformers is not installed, or it is none.
    """
    kind = model_type(source, _EXTRA, _WHAT)
    if kind not in require(_CAUSAL, _EXTRA, _WHAT).MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"{source} is no causal language model, but {kind!r}; expected one such as 'llama', "
            "'qwen2' or 'gemma3_text'"
        )


def open_language_model(
    source: str | Path, device: str = "cpu", dtype: str = "auto"
) -> LanguageModel:
    """Open a causal language model from a folder or a name on the hub; safetensors only, strictly.

    Args:
        dtype: `auto` for the type it was published in, or `float32`, `bfloat16`, `float16`.

    Raises:
        ConfigError: transformers is not installed, or it is no causal language model.
        CheckpointError: its weights do not fit its config.
    """
    check_kind(source)
    transformers = require("transformers", _EXTRA, _WHAT)
    source = str(source).removeprefix("hf:")
    model = opened(transformers.AutoModelForCausalLM, source, "auto")
    # Before a conversion, so that the digest is the same in every arithmetic.
    digest = digest_of_tensors(model.state_dict())
    if dtype != "auto":
        model = model.to(getattr(torch, dtype))
    words = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    return LanguageModel(source, model.to(device), words, digest)
