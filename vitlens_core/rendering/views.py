"""What a renderer makes of an object."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vitlens_core.rendering.cameras import Cameras
from vitlens_core.rendering.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Views:
    """V pictures of one object; row 0 is the top.

    rgba [V, H, W, 4] uint8 (sRGB, straight alpha), depth_m [V, H, W] float32: planar z of the
    camera frame at the pixel's centre, 0 where nothing is seen.
    """

    rgba: np.ndarray
    depth_m: np.ndarray


class MeshRenderer(Protocol):
    """The interface that every renderer has."""

    def render(self, mesh: Mesh, cameras: Cameras) -> Views:
        """One colour and one depth image per camera."""
        ...

    def close(self) -> None:
        """Free what the renderer holds."""
        ...
