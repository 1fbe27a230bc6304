"""Opens a model of transformers strictly, from safetensors, without code of its own."""

from __future__ import annotations

from typing import Any

from vitlens_core.errors import CheckpointError, ConfigError


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
