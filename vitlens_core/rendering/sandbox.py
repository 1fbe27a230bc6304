"""Renders untrusted objects in a child process that may be killed.

The child gets settings and GLB bytes through a pipe, opens GL once and renders object after
object. An object that takes too long, takes too much memory or crashes the child raises
BadSampleError; the next object gets a new child. There are no temporary files.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from vitlens_core.errors import BadSampleError, ConfigError
from vitlens_core.rendering import wire
from vitlens_core.rendering.mesh import Normalisation
from vitlens_core.rendering.renderer import RenderedObject
from vitlens_core.rendering.settings import RenderSettings

_START_LIMIT_S = 120.0
_DEATH_LIMIT_S = 30.0  # from the end of the pipe to the end of the process
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class RenderWorker:
    """Owns one render child; a context manager, used from one thread.

    Raises (on the first render):
        ConfigError: this machine lacks something that the renderer needs.
    """

    def __init__(self, settings: RenderSettings = RenderSettings()) -> None:  # noqa: B008
        self._settings = settings
        self._cameras = settings.cameras()
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def child_pid(self) -> int | None:
        """The process id of the running child; None before the first object and after a failure."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def render(self, glb: bytes, seed: int) -> RenderedObject:
        """Render one object; equal bytes and seed (0 to 2⁶⁴ − 1) give equal arrays.

        Raises:
            BadSampleError: the object is broken, hostile, too slow or too large, or it crashed the
                renderer.
        """
        child = self._fresh_child()
        try:
            fields, arrays = child.ask(glb, seed)
        except BaseException:  # it is dead, or its answer is still to come
            self.close()
            raise
        if "bad_sample" in fields:
            raise BadSampleError(fields["bad_sample"])
        return self._result(fields, arrays)

    def _fresh_child(self) -> "_Child":
        # GL drivers leak memory from object to object.
        if self._child is not None and self._child.rendered >= self._settings.recycle_after:
            self.close()
        if self._child is None:
            self._child = _Child(self._settings)
        return self._child

    def _result(self, fields: dict[str, Any], arrays: dict[str, np.ndarray]) -> RenderedObject:
        x, y, z = fields["normalisation"]["centre"]
        return RenderedObject(
            rgba=arrays["rgba"],
            depth_m=arrays["depth_m"],
            points=arrays["points"],
            cameras=self._cameras,
            normalisation=Normalisation((x, y, z), fields["normalisation"]["scale"]),
            seconds=fields["seconds"],
        )


class _Child:
    """One running child and the pipe to it."""

    def __init__(self, settings: RenderSettings) -> None:
        self.rendered = 0
        self._settings = settings
        self._pipe, theirs = multiprocessing.Pipe()
        # In memory, so that a crash leaves no file; a pipe would block a child that logs much.
        self._log = os.fdopen(os.memfd_create("render-child-log"), "rb")
        # A plain interpreter: multiprocessing's spawn would import the caller's __main__ again.
        # -P: the working directory is not put on its import path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vitlens_core.rendering.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        # Else the pipe would not end when the child does.
        theirs.close()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, glb: bytes, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send one object and wait for its answer; after a BadSampleError the child is lost."""
        self.rendered += 1
        try:
            self._pipe.send_bytes(seed.to_bytes(8, "little"))
            self._pipe.send_bytes(glb)
            if not self._pipe.poll(self._settings.time_limit_s):
                raise BadSampleError(f"exceeded {self._settings.time_limit_s:g} s")
            return wire.receive(self._pipe)
        except (EOFError, ConnectionError):
            raise BadSampleError(f"crashed the renderer ({self._death()})") from None

    def close(self) -> None:
        """Kill the child and free the pipe."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._log.close()

    def _start(self) -> None:
        """Send the settings and wait until the renderer is open."""
        try:
            self._pipe.send_bytes(json.dumps(asdict(self._settings)).encode())
            if not self._pipe.poll(_START_LIMIT_S):
                raise ConfigError(f"the render child did not start within {_START_LIMIT_S:g} s")
            fields, _ = wire.receive(self._pipe)
        except (EOFError, ConnectionError):
            raise ConfigError(f"the render child did not start ({self._death()})") from None
        if "config_error" in fields:
            raise ConfigError(fields["config_error"])

    def _death(self) -> str:
        """Say how the child ended, with the last line that it wrote."""
        code = self._process.wait(_DEATH_LIMIT_S)
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        words = next((line for line in reversed(lines) if line.strip()), "")
        return f"{how}: {words.strip()[:200]}" if words else how


def _environment(settings: RenderSettings) -> dict[str, str]:
    """The parent's environment and import path, with numpy and Mesa limited."""
    # One thread, since other workers use the other cores; no shader cache, which would be files.
    return {
        **os.environ,
        **dict.fromkeys(_ONE_THREAD, "1"),
        "LP_NUM_THREADS": str(settings.threads),
        "MESA_SHADER_CACHE_DISABLE": "true",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
