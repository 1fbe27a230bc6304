"""Reads inputs that nobody vouches for, in a child process without rights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vitlens_core import late, modalities
from vitlens_core.api.encoders import Preparation, Stored
from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.modalities.text import MODALITY as TEXT
from vitlens_core.readers.clouds import read_shape
from vitlens_core.readers.files import as_file
from vitlens_core.rendering.glb_writer import encode_glb
from vitlens_core.sandbox import Answer, Limits, Sandbox
from vitlens_core.sandbox.child import Arrays, Handler
from vitlens_core.sandbox.wire import Fields

_OPENER = f"{__name__}:open_readers"
_SHAPE = "shape"  # asks for a GLB of what a file shows


def sandbox(limits: Limits = Limits()) -> Sandbox:  # noqa: B008
    """Make a sandbox whose child reads files; `read` asks it."""
    return Sandbox(_OPENER, {}, limits, modules=late.NAMES)


def read(
    sandbox: Sandbox,
    preparation: Preparation,
    path: Path,
    options: Mapping[str, object],
    name: str,
    time_s: float = math.inf,
) -> Answer:
    """Have a file read and stored; the answer has one array, `stored`.

    Args:
        name: file name; its ending states the format.
        time_s: most seconds, if fewer than the sandbox's limit.

    Raises:
        InputError: the file is broken, hostile, too slow or too large, or its reader lacks an
            option.
    """
    asked = {**preparation.described(), "options": dict(options)}
    return _asked(sandbox, asked, path, name, time_s)


def read_glb(sandbox: Sandbox, path: Path, name: str, time_s: float = math.inf) -> Answer:
    """Have an object or a point cloud read, and written as a plain GLB: the array `glb`.

    Args:
        name, time_s: as of `read`.

    Raises:
        InputError: as `read`.
    """
    return _asked(sandbox, {_SHAPE: True}, path, name, time_s)


def _asked(
    sandbox: Sandbox, fields: Mapping[str, object], path: Path, name: str, time_s: float
) -> Answer:
    try:
        with sandbox.lent(path, name) as lent:
            return sandbox.ask({**fields, "path": str(lent)}, time_s=time_s)
    except BadSampleError as error:
        raise InputError(f"{path} {error}") from error
    except InputError as error:
        raise InputError(str(error).replace(str(sandbox.inbox / name), str(path))) from error


class UntrustedReader:
    """One child that reads the files and bytes of a caller, one at a time."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008
        self._sandbox = sandbox(limits)

    def prepare(
        self, preparation: Preparation, item: object, options: Mapping[str, object]
    ) -> Stored:
        """Read and store one input as `Preparation` does; arrays and texts are not files.

        Raises:
            InputError: as `read`.
        """
        if isinstance(item, bytes):
            with as_file(item) as path:
                return self.prepare(preparation, path, options)
        is_path = isinstance(item, Path) or (
            isinstance(item, str) and preparation.modality != TEXT.name
        )
        # Text is read as UTF-8 and nothing else: there is nothing to decode.
        if not is_path or preparation.modality == TEXT.name:
            return preparation(item, options)
        path = Path(str(item))
        if not path.is_file():
            raise InputError(f"expected a file at {path}, found none")
        return read(self._sandbox, preparation, path, options, path.name).arrays["stored"]

    def read_raw(self, modality: str, path: Path) -> np.ndarray:
        """Read a file of a modality without storing it. Raises InputError as `read`."""
        return read(self._sandbox, Preparation(modality), path, {}, path.name).arrays["raw"]

    def close(self) -> None:
        """End the child; the next input starts another."""
        self._sandbox.close()


def open_readers(settings: Fields) -> Handler:
    """Load every modality, in the child."""
    for name in modalities.names():
        modalities.load(name)

    def prepared(fields: Fields, _: Arrays) -> tuple[Mapping[str, object], Arrays]:
        if _SHAPE in fields:
            return {}, {"glb": np.frombuffer(encode_glb(read_shape(fields["path"])), np.uint8)}
        preparation = Preparation.from_description(fields)
        if preparation.signal is None and preparation.side_px is None:
            return {}, {"raw": modalities.load(preparation.modality).read(fields["path"])}
        stored = preparation(Path(fields["path"]), fields["options"])
        assert isinstance(stored, np.ndarray), "texts are read by the parent"
        return {}, {"stored": stored}

    return prepared
