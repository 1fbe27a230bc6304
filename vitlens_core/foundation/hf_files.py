"""The files of a Hugging Face model: its config, and the safetensors of one part of it.

A model is a folder, or a name on the hub, of which only the needed files are downloaded: the
vision tower of a 13 GB model is 2 GB. Pickled weights are not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitlens_core import caps
from vitlens_core.errors import CheckpointError, ConfigError

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class ModelFiles:
    """A model's folder, or its name on the hub (`openai/clip-vit-base-patch32`)."""

    def __init__(self, source: str) -> None:
        self.source = source

    def find(self, name: str) -> Path | None:
        """Return the path of a file, downloaded if need be; None if the model has no such file.

        Raises:
            ConfigError: the hub does not have the model, or cannot be reached.
        """
        folder = Path(self.source)
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        try:
            return Path(hf_hub_download(self.source, name))
        except LocalEntryNotFoundError as error:
            raise self._unreachable(error) from error
        except EntryNotFoundError:
            return None
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    def config(self) -> dict[str, Any]:
        """Read config.json. Raises ConfigError if there is none, or it names no model type."""
        path = self.find("config.json")
        if path is None:
            raise ConfigError(f"hf:{self.source} has no config.json; name a model's folder")
        try:
            config = caps.parse_json(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"{path} is not JSON: {error}") from error
        if not isinstance(config, dict) or "model_type" not in config:
            raise ConfigError(f"{path} names no model_type: it is no model of transformers")
        return config

    def tensors(self, prefixes: Iterable[str]) -> dict[str, Tensor]:
        """Read the tensors whose names begin with one of `prefixes`, which is cut off.

        Raises:
            ConfigError: the model has no safetensors.
            CheckpointError: a file cannot be read, or no name begins so.
        """
        prefixes = tuple(prefixes)
        state: dict[str, Tensor] = {}
        for path in self._weights(prefixes):
            try:
                with safe_open(str(path), framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118 — it is no dictionary
                        for prefix in prefixes:
                            if name.startswith(prefix):
                                state[name.removeprefix(prefix)] = file.get_tensor(name)
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
        if not state:
            raise CheckpointError(
                f"hf:{self.source}: no tensor's name begins with {' or '.join(prefixes)}"
            )
        return state

    def _weights(self, prefixes: tuple[str, ...]) -> list[Path]:
        if index := self.find(_INDEX):
            try:
                files = caps.parse_json(index.read_bytes())["weight_map"]
                needed = sorted({f for name, f in files.items() if name.startswith(prefixes)})
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise CheckpointError(f"{index} is no index of weights: {error!r}") from error
            # A file name, not a path: an index could name any file of this machine.
            found = [self.find(Path(str(name)).name) for name in needed]
        else:
            found = [self.find(_WHOLE)]
        if None in found:
            raise ConfigError(
                f"hf:{self.source} has no {_WHOLE} (or a part of it is missing). Pickled weights "
                "are not read: choose a revision with safetensors, or convert them"
            )
        return [path for path in found if path is not None]

    def _unreachable(self, error: Exception) -> ConfigError:
        reason = str(error).partition("\n")[0]
        return ConfigError(
            f"hf:{self.source} is neither a folder nor a model that the hub gave: {reason}. "
            "Without a connection, name the folder of a downloaded model"
        )
