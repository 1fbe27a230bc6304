"""Reads untrusted objects in a child process, as GLB (`vitlens_core.sandbox`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vitlens_core.readers.objects import read_object
from vitlens_core.readers.placing import Placing
from vitlens_core.sandbox import Limits, Sandbox
from vitlens_core.sandbox.child import Arrays, Handler
from vitlens_core.sandbox.wire import Fields


class ObjectReader:
    """Owns one child that reads the objects of a folder; used from one thread.

    Args:
        folder: all that the child may read.
        scratch: whether files need a folder to write in, as OpenCASCADE does for STEP.
    """

    def __init__(self, folder: Path, placing: Placing, limits: Limits, *, scratch: bool) -> None:
        self._sandbox = Sandbox(
            f"{__name__}:open_objects",
            asdict(placing),
            limits,
            readable=[folder],
            scratch=scratch,
        )

    def read(self, path: Path, folder: Path) -> bytes:
        """Read an object as GLB; `folder` holds the files that belong to it.

        Raises:
            InputError, BadSampleError: it is damaged, of another format, too slow or too large.
            ConfigError: a library that it needs is not installed.
        """
        answer = self._sandbox.ask({"path": str(path), "folder": str(folder)})
        return answer.arrays["glb"].tobytes()

    def close(self) -> None:
        """End the child."""
        self._sandbox.close()


def open_objects(settings: Fields) -> Handler:
    """Take requests for files, in the child."""
    placing = Placing(**settings)

    def read(fields: Fields, _: Arrays) -> tuple[Mapping[str, object], Arrays]:
        glb = read_object(Path(fields["path"]), placing, Path(fields["folder"]))
        return {}, {"glb": np.frombuffer(glb, np.uint8)}

    return read
