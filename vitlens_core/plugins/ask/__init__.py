"""Questions about any signal, answered by a model that knows images.

    by = open_question_model("Salesforce/instructblip-vicuna-7b")
    model.ask({"point_cloud": "chair.glb"}, "What is it used for?", by=by)

base.py       QuestionModel: answers, streams; TowerModel: its image encoder is replaced
blip.py       BLIP-2 and InstructBLIP
llava.py      LLaVA
qwen.py       Qwen2-VL, Qwen2.5-VL and Qwen3-VL
connected.py  any causal language model, behind a connector
connector.py  the connector: embeddings to soft tokens, and its file
language.py   the language model: prompts around a soft token, likelihoods of names
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from vitlens_core.extras import require
from vitlens_core.plugins import opening
from vitlens_core.plugins.ask.connected import ConnectedModel
from vitlens_core.plugins.ask.language import open_language_model

if TYPE_CHECKING:
    from vitlens_core.plugins.ask.base import QuestionModel

__all__ = ["ADAPTERS", "kind_of", "open_question_model"]

# By type of model: the class of transformers that holds it, and our module and class.
ADAPTERS = {
    "blip-2": ("Blip2ForConditionalGeneration", "blip", "Blip2"),
    "instructblip": ("InstructBlipForConditionalGeneration", "blip", "InstructBlip"),
    "llava": ("LlavaForConditionalGeneration", "llava", "Llava"),
    "qwen2_vl": ("Qwen2VLForConditionalGeneration", "qwen", "Qwen2Vl"),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "qwen", "Qwen2Vl"),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "qwen", "Qwen3Vl"),
}

_OTHERWISE = (
    "A model of text alone has no image encoder that a lens could replace: it needs a connector "
    "(`vitlens connector` trains one, --connector names it)"
)


def kind_of(source: str | Path) -> str:
    """Tell the type of a question model by its config; nothing of it is loaded.

    Raises:
        ConfigError: transformers is not installed, or the model is unknown or knows no images.
    """
    return opening.kind_of(source, ADAPTERS, "ask", "a question model", _OTHERWISE)


def open_question_model(
    source: str | Path,
    device: str = "cpu",
    dtype: str = "auto",
    *,
    connector: str | Path | None = None,
) -> QuestionModel:
    """Open a question model from a folder or a name on the hub; safetensors only, strictly.

    Args:
        connector: file of a connector, with which `source` is any causal language model.
        dtype: `auto` for the type it was published in, or `float32`, `bfloat16`, `float16`.

    Raises:
        ConfigError: as `kind_of`.
        CheckpointError: its weights do not fit its config, or the connector is of another model.
    """
    if connector is not None:
        return _connected(source, device, dtype, Path(connector))
    kind = kind_of(source)
    transformers = require("transformers", "ask", "a question model")
    source = str(source).removeprefix("hf:")
    class_name, module, adapter = ADAPTERS[kind]
    opener = getattr(transformers, class_name)
    model = opening.opened(opener, source, dtype).to(device)
    words = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    chosen = getattr(importlib.import_module(f"{__name__}.{module}"), adapter)
    return chosen(source, model, words)


def _connected(source: str | Path, device: str, dtype: str, connector: Path) -> QuestionModel:
    return ConnectedModel.open(open_language_model(source, device, dtype), connector)
