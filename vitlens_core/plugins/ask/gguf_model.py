"""Writes a GGUF file of a small language model as a folder that `hf:` names.

transformers reads the weights of a GGUF file, but makes a unigram tokenizer of its words. The
scores of Gemma's and Llama's words are ranks of byte pairs: read as log-probabilities they cut
" sofa" into "so" and "fa". The tokenizer is built anew here, with its merges in the order of the
scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.extras import require

_EXTRA, _WHAT = "gguf", "a GGUF file"
_BLANK = "▁"  # SentencePiece's sign for a blank
_SENTENCE_PIECE = "llama"  # GGUF's name of the kind of tokenizer
_NORMAL, _UNKNOWN, _CONTROL, _OWN_WORD = 1, 2, 3, 4  # GGUF's types of words
_KEY = "tokenizer.ggml."
_NAMED = ("bos", "eos", "unknown", "padding")  # `<name>_token_id`
_OURS = {"unknown": "unk_token", "padding": "pad_token"}


def convert(file: Path, folder: Path) -> None:
    """Write a GGUF file as config, safetensors in fp32 and tokenizer.

    Args:
        folder: is made; it must not exist.

    Raises:
        ConfigError: an extra is not installed, or the folder exists.
        InputError: it is no GGUF file with the scores of a SentencePiece tokenizer.
    """
    transformers = require("transformers", _EXTRA, _WHAT)
    if folder.exists():
        raise ConfigError(f"{folder} exists: name a folder that is to be made")
    stated = _stated(file)
    words = tokenizer(stated)
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    rows = model.get_input_embeddings().weight.shape[0]
    if rows != len(stated["tokens"]):
        raise InputError(f"{file} states {len(stated['tokens'])} words for {rows} embeddings")
    model.float().save_pretrained(folder)
    words.save_pretrained(folder)


def tokenizer(stated: Mapping[str, Any]) -> Any:
    """Build the tokenizer of transformers from what a GGUF file states of it.

    Args:
        stated: the fields below `tokenizer.ggml.`, with tokens, scores and token_type.
    """
    tokenizers = require("tokenizers", _EXTRA, _WHAT)
    transformers = require("transformers", _EXTRA, _WHAT)
    tokens, kinds = _spelled(stated["tokens"], stated["token_type"]), stated["token_type"]
    ids = {token: number for number, token in enumerate(tokens)}
    unknown = tokens[stated["unknown_token_id"]] if "unknown_token_id" in stated else None
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=ids, merges=merges(tokens, stated["scores"], kinds), unk_token=unknown,
            fuse_unk=True, byte_fallback=True,
        )
    )  # fmt: skip
    blanks = tokenizers.normalizers.Replace(" ", _BLANK)
    if stated.get("add_space_prefix", True):
        lead = tokenizers.normalizers.Prepend(_BLANK)
        blanks = tokenizers.normalizers.Sequence([lead, blanks])
    made.normalizer = blanks
    parts = (tokenizers.decoders.Replace(_BLANK, " "), tokenizers.decoders.ByteFallback())
    made.decoder = tokenizers.decoders.Sequence([*parts, tokenizers.decoders.Fuse()])
    own = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _OWN_WORD]
    # Runs of blanks are known by their sign, which a text has after it is normalised only.
    made.add_tokens([tokenizers.AddedToken(t, normalized=_BLANK in t) for t in own])
    special = [t for t, kind in zip(tokens, kinds, strict=True) if kind in (_UNKNOWN, _CONTROL)]
    made.add_special_tokens(special)
    named = {_OURS.get(name, f"{name}_token"): tokens[stated[f"{name}_token_id"]]
             for name in _NAMED if f"{name}_token_id" in stated}  # fmt: skip
    if stated.get("add_bos_token", True) and "bos_token" in named:
        begin = named["bos_token"]
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, ids[begin])]
        )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **named)


def merges(
    tokens: Sequence[str], scores: Sequence[float], kinds: Sequence[int]
) -> list[tuple[str, str]]:
    """Return the byte pairs that make the words, those of the best scores first."""
    known = {token for token, kind in zip(tokens, kinds, strict=True) if kind == _NORMAL}
    ranked = sorted(zip(scores, tokens, kinds, strict=True), key=lambda one: -one[0])
    return [pair for _, token, kind in ranked if kind == _NORMAL for pair in _pairs(token, known)]


def _pairs(token: str, known: set[str]) -> Iterator[tuple[str, str]]:
    for cut in range(1, len(token)):
        left, right = token[:cut], token[cut:]
        if left in known and right in known:
            yield left, right


def _spelled(tokens: Sequence[str], kinds: Sequence[int]) -> list[str]:
    """Spell runs of blanks with SentencePiece's sign, as other words are."""
    return [
        token.replace(" ", _BLANK) if kind in (_NORMAL, _OWN_WORD) else token
        for token, kind in zip(tokens, kinds, strict=True)
    ]


def _stated(file: Path) -> dict[str, Any]:
    """Read the fields of the tokenizer from a GGUF file."""
    gguf = require("gguf", _EXTRA, _WHAT)
    try:
        fields = gguf.GGUFReader(file).fields
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is no GGUF file: {error}") from error
    stated = {
        name.removeprefix(_KEY): field.contents()
        for name, field in fields.items()
        if name.startswith(_KEY)
    }
    kind = stated.get("model")
    if kind != _SENTENCE_PIECE or not {"tokens", "scores", "token_type"} <= stated.keys():
        raise InputError(
            f"{file} has a tokenizer of the kind {kind!r}; expected {_SENTENCE_PIECE!r} with words "
            "and their scores. Use a model that is published as safetensors"
        )
    return stated
