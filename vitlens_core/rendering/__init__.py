"""Renders objects: glTF bytes to views, metric depth and coloured surface points.

    load_glb ─▶ normalise ─▶ Rasterizer / CyclesRenderer ─▶ rgba, depth
                         └─▶ sample_surface ─▶ farthest_point_order ─▶ points

`RenderWorker` does all of this for untrusted objects, in a child process with limits.
Rendering needs `pip install 'vitlens[render]'`; importing this package does not, and it does not
import torch.
"""

from vitlens_core.rendering.cameras import Cameras
from vitlens_core.rendering.container import GlbLimits
from vitlens_core.rendering.mesh import (
    Layer,
    Material,
    Mesh,
    Normalisation,
    Part,
    Texture,
    normalise,
)
from vitlens_core.rendering.points import farthest_point_order, sample_surface
from vitlens_core.rendering.renderer import ObjectRenderer, RenderedObject, open_renderer
from vitlens_core.rendering.sandbox import RenderWorker
from vitlens_core.rendering.scene import load_glb
from vitlens_core.rendering.settings import RenderSettings
from vitlens_core.rendering.uris import FilesBeside
from vitlens_core.rendering.views import MeshRenderer, Views, is_software

__all__ = [
    "Cameras",
    "FilesBeside",
    "GlbLimits",
    "Layer",
    "Material",
    "Mesh",
    "MeshRenderer",
    "Normalisation",
    "ObjectRenderer",
    "Part",
    "RenderSettings",
    "RenderWorker",
    "RenderedObject",
    "Texture",
    "Views",
    "farthest_point_order",
    "is_software",
    "load_glb",
    "normalise",
    "open_renderer",
    "sample_surface",
]
