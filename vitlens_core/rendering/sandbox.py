"""Renders untrusted objects in a child process that may be killed (`vitlens_core.sandbox`).

The child opens GL once and renders object after object. An object that takes too long, takes too
much memory or crashes the child raises BadSampleError; the next object gets a new child. There are
no temporary files.
"""

from dataclasses import asdict
from typing import Self

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.mesh import Normalisation
from vitlens_core.rendering.renderer import RenderedObject
from vitlens_core.rendering.settings import RenderSettings
from vitlens_core.sandbox import Limits, Sandbox
from vitlens_core.sandbox.wire import Fields

_NAME = 300  # characters of a renderer's name


class RenderWorker:
    """Owns one render child; a context manager, used from one thread.

    Raises (on the first render):
        ConfigError: this machine lacks something that the renderer needs.
    """

    def __init__(self, settings: RenderSettings = RenderSettings()) -> None:  # noqa: B008
        self._settings = settings
        self._cameras = settings.cameras()
        limits = Limits(
            time_s=settings.time_limit_s,
            memory_mb=settings.memory_limit_mb,
            threads=settings.threads,
            recycle_after=settings.recycle_after,
        )
        self._sandbox = Sandbox(
            "vitlens_core.rendering.child:open_renderer", asdict(settings), limits, devices=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def child_pid(self) -> int | None:
        """The process id of the running child; None before the first object and after a failure."""
        return self._sandbox.pid

    def close(self) -> None:
        """End the child, if there is one."""
        self._sandbox.close()

    def render(self, glb: bytes, seed: int) -> RenderedObject:
        """Render one object; equal bytes and seed (0 to 2⁶⁴ − 1) give equal arrays.

        Raises:
            BadSampleError: the object is broken, hostile, too slow or too large, or it crashed the
                renderer.
        """
        answer = self._sandbox.ask({"seed": seed}, glb=np.frombuffer(glb, np.uint8))
        try:
            return self._result(answer.fields, answer.arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise BadSampleError(f"the renderer's answer is no object: {error}") from error

    def _result(self, fields: Fields, arrays: dict[str, np.ndarray]) -> RenderedObject:
        x, y, z = fields["normalisation"]["centre"]
        views, side = len(self._cameras), self._settings.size_px
        return RenderedObject(
            rgba=_of(arrays["rgba"], np.uint8, views, side, side, 4),
            depth_m=_of(arrays["depth_m"], np.float32, views, side, side),
            points=_of(arrays["points"], np.float32, self._settings.points, 6),
            cameras=self._cameras,
            normalisation=Normalisation((x, y, z), fields["normalisation"]["scale"]),
            seconds=fields["seconds"],
            renderer=str(fields["renderer"])[:_NAME],
        )


def _of(array: np.ndarray, dtype: type, *shape: int) -> np.ndarray:
    """Check an array of the child, which a hostile object may control (`ValueError`)."""
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{array.dtype} {list(array.shape)}, expected {list(shape)}")
    return array
