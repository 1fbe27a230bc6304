"""Tiny causal language models in the very format in which the large ones are published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers as hf

from tests.tiny_hf import LANGUAGE, randomised, tokenizer

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
