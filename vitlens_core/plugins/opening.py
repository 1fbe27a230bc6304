"""Opens a model of transformers strictly, from safetensors, without code of its own."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from vitlens_core.errors import CheckpointError, ConfigError, unknown
from vitlens_core.extras import require
from vitlens_core.foundation.hf_files import ModelFiles


def model_type(source: str | Path, extra: str, what: str) -> str:
    """Tell the type of a model by its config; nothing of it is loaded.

    Args:
        extra: brings transformers.
        what: what the model is wanted for, the subject of the message: `a detector`.

    Raises:
        ConfigError: transformers is not installed, or it is no model of transformers.
    """
    require("transformers", extra, what)
    return ModelFiles(str(source).removeprefix("hf:")).config()["model_type"]


def kind_of(
    source: str | Path, known: Collection[str], extra: str, what: str, otherwise: str
) -> str:
    """Tell the type of a model that is one of `known`; arguments and errors as `model_type`.

    Args:
        otherwise: a sentence for who names another.

    Raises:
        ConfigError: it is another.
    """
    kind = model_type(source, extra, what)
    if kind not in known:
        wanted = unknown(what.removeprefix("a "), kind, known)
        raise ConfigError(f"{str(source).removeprefix('hf:')}: {wanted}. {otherwise}")
    return kind


def opened(opener: Any, source: str, dtype: str) -> Any:
    """Open a model by its class of transformers, frozen and in evaluation mode.

    Raises:
        ConfigError: it cannot be had, or has no safetensors.
        CheckpointError: a tensor is missing, left over or of another shape.
    """
    try:
        model, report = opener.from_pretrained(
            source,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source} cannot be opened: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{source}: its weights do not fit its config: {error}") from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    # Counters that old releases saved; they are computed now.
    if wrong := [name for name in wrong if "position_ids" not in str(name)]:
        raise CheckpointError(
            f"{source}: its weights do not fit its config; missing or left over: {wrong[:5]}"
        )
    return model.eval().requires_grad_(False)
