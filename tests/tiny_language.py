"""Tiny causal language models in the very format in which the large ones are published.

And connectors before them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers as hf

from tests.tiny_hf import LANGUAGE, randomised, tokenizer
from vitlens_core.foundation import load_foundation
from vitlens_core.plugins.ask.connector import Connector, ConnectorInfo, encode_connector
from vitlens_core.plugins.ask.language import LanguageModel, open_language_model

_SIZES = LANGUAGE | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def llama() -> Any:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**_SIZES, vocab_size=len(tokenizer())))


def gemma3() -> Any:
    """Its input embeddings are scaled by √W, its output weights are the same tensor."""
    config = hf.Gemma3TextConfig(
        **_SIZES, vocab_size=len(tokenizer()), head_dim=10, sliding_window=64
    )
    return hf.Gemma3ForCausalLM(config)


MODELS: dict[str, Callable[[], Any]] = {"llama": llama, "gemma3": gemma3}


def write(kind: str, folder: Path, seed: int = 0, *, chats: bool = False) -> Path:
    """Write one of `MODELS` as a folder: config, safetensors, tokenizer."""
    randomised(MODELS[kind](), seed).save_pretrained(folder)
    words = tokenizer()
    if chats:
        words.chat_template = _CHAT
    words.save_pretrained(folder)
    return folder


def connector(
    language: LanguageModel, digest: str, spec: str = "", seed: int = 0, embed_dim: int = 12
) -> bytes:
    """A connector whose residual is not zero, for embeddings of the foundation `digest`."""
    made = randomised(Connector(embed_dim, language.width, 8), seed)
    info = ConnectorInfo(
        foundation=spec, foundation_digest=digest, language_model=language.source,
        language_model_digest=language.digest, embed_dim=embed_dim, width=language.width, hidden=8,
    )  # fmt: skip
    return encode_connector(made, info)


def write_connector(path: Path, language: Path, spec: str) -> Path:
    """Write a connector from a foundation's embeddings to the language model in a folder."""
    foundation = load_foundation(spec)
    opened = open_language_model(language)
    data = connector(opened, foundation.digest(), spec, embed_dim=foundation.embed_dim)
    path.write_bytes(data)
    return path
