"""The result of a renderer, and the interface of renderers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vitlens_core.rendering.cameras import Cameras
from vitlens_core.rendering.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Views:
    """V pictures of one object; row 0 is the top.

    Attributes:
        rgba: [V, H, W, 4] uint8, sRGB with straight alpha.
        depth_m: [V, H, W] float32, planar z of the camera frame at the pixel's centre; 0 where
            nothing is seen.
    """

    rgba: np.ndarray
    depth_m: np.ndarray


_SOFTWARE = ("llvmpipe", "softpipe", "swrast")


def is_software(renderer: str) -> bool:
    """Whether a renderer's name is that of one that draws on the CPU."""
    return any(word in renderer for word in _SOFTWARE)


class MeshRenderer(Protocol):
    """The interface of every renderer.

    Attributes:
        name: what draws, as it states itself: pictures of two renderers differ in their last bits.
    """

    name: str

    def render(self, mesh: Mesh, cameras: Cameras) -> Views:
        """Render one colour and one depth image per camera."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...
