"""OpenGL without a display: opens a context on the right device, and says which one it is.

EGL counts devices in its own order, also those that a container may not open. A worker that was
given a GPU (`CUDA_VISIBLE_DEVICES`) takes that one, any other the first that opens.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from typing import Any

import moderngl

from vitlens_core.errors import ConfigError

# In a dictionary of Any, since moderngl annotates this keyword as a dictionary. The libraries are
# named, since looking for them starts a compiler and writes files, which a child may not.
_EGL: dict[str, Any] = {"backend": "egl", "libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
_CUDA_DEVICE = 0x323A  # EGL_CUDA_DEVICE_NV (EGL_NV_device_cuda)
_MOST_DEVICES = 64


def open_context() -> moderngl.Context:
    """Open an OpenGL 3.3 context.

    Raises:
        ConfigError: no device opens; the message has the reason of each.
    """
    refused = []
    for device in in_order(os.environ.get("CUDA_VISIBLE_DEVICES", ""), cuda_numbers()):
        settings: dict[str, Any] = {**_EGL, "device_index": device}
        try:
            return moderngl.create_context(standalone=True, require=330, **settings)
        except Exception as error:  # moderngl and glcontext raise plain Exception
            refused.append(f"device {device}: {error}")
            if "but found" in str(error):  # the devices end here
                break
    raise ConfigError(
        f"no OpenGL 3.3 for rendering ({'; '.join(refused)}); install the Debian packages "
        "libegl1 libgl1 libgl1-mesa-dri, and in a container of an NVIDIA GPU set "
        "NVIDIA_DRIVER_CAPABILITIES to contain graphics"
    )


def renderer_name(context: moderngl.Context) -> str:
    """Return the name of what draws: device, driver and version, as OpenGL states them."""
    return f"{context.info['GL_RENDERER']}, OpenGL {context.info['GL_VERSION']}"


def in_order(visible: str, cuda: Sequence[int | None]) -> Iterator[int]:
    """Yield the numbers of EGL's devices, the worker's own first.

    Args:
        visible: `CUDA_VISIBLE_DEVICES`.
        cuda: what `cuda_numbers` returns.
    """
    own = visible.split(",")[0].strip()
    found = [number for number, known in enumerate(cuda) if own and str(known) == own]
    yield from found
    yield from (number for number in range(_MOST_DEVICES) if number not in found)


def cuda_numbers() -> list[int | None]:
    """Return each EGL device's number in CUDA; None for a device that CUDA does not know."""
    try:
        egl: Any = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return []
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    list_devices = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    ask = egl.eglGetProcAddress(b"eglQueryDeviceAttribEXT")
    if not list_devices or not ask:
        return []
    devices, count = (ctypes.c_void_p * _MOST_DEVICES)(), ctypes.c_int()
    boolean, pointer = ctypes.c_uint, ctypes.c_void_p
    query = ctypes.CFUNCTYPE(boolean, ctypes.c_int, pointer, pointer)(list_devices)
    attribute = ctypes.CFUNCTYPE(boolean, pointer, ctypes.c_int, pointer)(ask)
    if not query(_MOST_DEVICES, devices, ctypes.byref(count)):
        return []
    numbers: list[int | None] = []
    for device in devices[: count.value]:
        number = ctypes.c_ssize_t()
        known = attribute(device, _CUDA_DEVICE, ctypes.byref(number))
        numbers.append(number.value if known else None)
    return numbers
