"""The default renderer: a small OpenGL rasteriser for colour and metric depth of each view.

It runs without a display through EGL: on the GPU if there is one, else on Mesa's llvmpipe.
Colour is supersampled and averaged in linear light by OpenGL; depth is sampled once, at each
pixel's centre. The back of a single-sided surface is not seen (glTF 2.0, chapter 3.9.6). Points
and lines are drawn as small discs.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import moderngl
import numpy as np

from vitlens_core.errors import ConfigError
from vitlens_core.rendering import shaders
from vitlens_core.rendering.cameras import Cameras
from vitlens_core.rendering.discs import as_points, disc_diameter_m
from vitlens_core.rendering.mesh import Layer, Mesh, Part, Texture
from vitlens_core.rendering.opengl import open_context, renderer_name
from vitlens_core.rendering.settings import RenderSettings
from vitlens_core.rendering.views import Views

_SUPERSAMPLES = 2  # per side; on llvmpipe, multisampling is slower
_SRGB8_ALPHA8 = 0x8C43  # GL decodes such texels to linear light; moderngl has no name for it
_ANY_ALPHA = 1e9
# See-through materials are split: places of this alpha and above are drawn as opaque ones are.
_OPAQUE_FROM = 0.99
_FAINTEST = 1 / 255  # in 8 bits, a smaller alpha is 0
# Direction to the key light in the camera frame: left of, above and behind the camera.
KEY_DIRECTION = np.array([-0.35, -0.55, -1.0]) / np.linalg.norm([-0.35, -0.55, -1.0])
_LAYERS = ("base", "specular", "emission")
_NO_LAYER = Layer()


@dataclass(frozen=True, eq=False)
class _Drawable:
    """A part in the memory of OpenGL."""

    colour: moderngl.VertexArray
    depth: moderngl.VertexArray
    indices: moderngl.Buffer
    textures: tuple[moderngl.Texture, ...]
    part: Part

    def sort_towards(self, eye: np.ndarray) -> None:
        """Sort triangles from far to near, the order in which blending is right."""
        faces = self.part.faces
        centroids = self.part.positions[faces].mean(axis=1)
        # Stable, so that equal distances give the same picture every time.
        farthest_first = np.argsort(-np.linalg.norm(centroids - eye, axis=1), kind="stable")
        self.indices.write(np.ascontiguousarray(faces[farthest_first]))


class Rasterizer:
    """Renders meshes one after the other with one GL context.

    Attributes:
        name: the device and driver that draw.

    Raises:
        ConfigError: no usable OpenGL on this machine.
    """

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px
        self._ctx = open_context()
        self.name = renderer_name(self._ctx)
        ctx, side = self._ctx, size_px * _SUPERSAMPLES
        self._colour = ctx.program(shaders.VERTEX, shaders.COLOUR)
        self._depth = ctx.program(shaders.VERTEX, shaders.DEPTH)
        self._resolve = ctx.program(shaders.SCREEN_VERTEX, shaders.RESOLVE)
        _set(self._resolve, "samples_per_side", _SUPERSAMPLES)
        self._screen = ctx.vertex_array(self._resolve, [])
        # Half floats: linear light in 8 bits would show bands in dark colours.
        self._fine = ctx.texture((side, side), 4, dtype="f2")
        self._fine_target = ctx.framebuffer([self._fine], ctx.depth_renderbuffer((side, side)))
        size = (size_px, size_px)
        self._rgba_target = ctx.framebuffer([ctx.texture(size, 4)])
        # Metres are written as a colour: GL's own depth buffer is neither linear nor metric.
        self._depth_target = ctx.framebuffer(
            [ctx.texture(size, 1, dtype="f4")], ctx.depth_renderbuffer(size)
        )
        self._white = ctx.texture((1, 1), 4, b"\xff" * 4)
        # Colours are premultiplied by alpha.
        ctx.blend_func = moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA
        # Clip space is seen from its other side, since y points down in it.
        ctx.front_face = "cw"
        for unit, name in enumerate(_LAYERS):
            _set_if_used(self._colour, f"{name}_texture", unit)

    def close(self) -> None:
        """Release the GL context and everything in it."""
        self._ctx.release()

    def render(self, mesh: Mesh, cameras: Cameras) -> Views:
        """Render colour and depth from every camera."""
        views, side = len(cameras), self._size_px
        if cameras.size_px != side:
            raise ConfigError(f"cameras of {cameras.size_px} px for a renderer of {side} px")
        rgba = np.zeros((views, side, side, 4), np.uint8)
        depth_m = np.zeros((views, side, side), np.float32)
        with ExitStack() as stack:
            drawables = self._upload(self._ready(mesh, cameras), stack)
            radius_m = float(np.linalg.norm(np.abs(mesh.bounds()).max(axis=0)))
            for view in range(views):
                self._aim(cameras, view, radius_m)
                self._draw_colour(drawables, cameras.positions[view])
                self._rgba_target.read_into(rgba[view], components=4)
                self._draw_depth(drawables)
                self._depth_target.read_into(depth_m[view], components=1, dtype="f4")
        return Views(rgba, depth_m)

    def _ready(self, mesh: Mesh, cameras: Cameras) -> Mesh:
        """Turn points and lines into discs, and state the size of discs."""
        if mesh.corners == 3:
            return mesh
        points = as_points(mesh)
        diameter_m = disc_diameter_m(points, is_line=mesh.corners == 2)
        disc_px_m = diameter_m * float(cameras.intrinsics[0, 0])
        _set(self._colour, "disc_px_m", disc_px_m * _SUPERSAMPLES)
        _set(self._depth, "disc_px_m", disc_px_m)
        return points

    def _upload(self, mesh: Mesh, stack: ExitStack) -> list[_Drawable]:
        textures: dict[int, moderngl.Texture] = {}
        return [self._upload_part(part, textures, stack) for part in mesh.parts]

    def _upload_part(
        self, part: Part, textures: dict[int, moderngl.Texture], stack: ExitStack
    ) -> _Drawable:
        material = part.material
        layers = [
            layer or _NO_LAYER for layer in (material.base, material.specular, material.emission)
        ]
        content = [
            (self._buffer(array, stack), kind, name)
            for array, kind, name in (
                (part.positions, "3f", "in_position"),
                (part.normals, "3f", "in_normal"),
                (part.colours, "4f", "in_colour"),
            )
        ]
        uv = [self._buffer(row, stack) for row in part.uv]
        content += [
            (uv[layer.uv], "2f", f"in_{name}_uv")
            for layer, name in zip(layers, _LAYERS, strict=True)
        ]
        # The compiler drops attributes that a program does not use, and moderngl then refuses them.
        depth_content = [entry for entry in content if entry[2] in self._depth]
        indices = self._buffer(part.faces, stack)
        colour = self._ctx.vertex_array(self._colour, content, indices)
        depth = self._ctx.vertex_array(self._depth, depth_content, indices)
        for resource in (colour, depth):
            stack.callback(resource.release)
        found = tuple(self._upload_texture(layer.texture, textures, stack) for layer in layers)
        return _Drawable(colour, depth, indices, found, part)

    def _buffer(self, array: np.ndarray, stack: ExitStack) -> moderngl.Buffer:
        buffer = self._ctx.buffer(np.ascontiguousarray(array))
        stack.callback(buffer.release)
        return buffer

    def _upload_texture(
        self, source: Texture | None, uploaded: dict[int, moderngl.Texture], stack: ExitStack
    ) -> moderngl.Texture:
        if source is None:
            return self._white
        if id(source) not in uploaded:
            height, width = source.texels.shape[:2]
            texels = np.ascontiguousarray(source.texels)
            texture = self._ctx.texture((width, height), 4, texels, internal_format=_SRGB8_ALPHA8)
            texture.build_mipmaps()
            # Blocks where a texel covers pixels; where it is smaller, the mean of several.
            magnified = moderngl.NEAREST if source.nearest else moderngl.LINEAR
            texture.filter = moderngl.LINEAR_MIPMAP_LINEAR, magnified
            texture.repeat_x, texture.repeat_y = source.repeat
            stack.callback(texture.release)
            uploaded[id(source)] = texture
        return uploaded[id(source)]

    def _aim(self, cameras: Cameras, view: int, radius_m: float) -> None:
        world_to_cam = _gl_matrix(cameras.world_to_cam[view])
        cam_to_clip = _gl_matrix(_clip_matrix(cameras, view, radius_m))
        for program in (self._colour, self._depth):
            _set(program, "world_to_cam", world_to_cam)
            _set(program, "cam_to_clip", cam_to_clip)
        pose = cameras.cam_to_world[view]
        _set(self._colour, "eye", tuple(pose[:3, 3]))
        _set(self._colour, "key", tuple(pose[:3, :3] @ KEY_DIRECTION))

    def _draw_colour(self, drawables: list[_Drawable], eye: np.ndarray) -> None:
        """Draw opaque surfaces, then see-through ones over them, then average the samples."""
        self._fine_target.use()
        self._fine_target.clear()
        self._ctx.enable_only(moderngl.DEPTH_TEST)
        for drawable in drawables:
            material = drawable.part.material
            # Of a see-through material, only what is nearly opaque may hide things.
            nearly_opaque = material.alpha_mode == "BLEND"
            lowest = _OPAQUE_FROM if nearly_opaque else material.visible_from
            self._draw(self._colour, drawable, (lowest, _ANY_ALPHA))
        see_through = [d for d in drawables if d.part.material.alpha_mode == "BLEND"]
        if see_through:
            self._blend(see_through, eye)
        self._rgba_target.use()
        self._ctx.enable_only(moderngl.NOTHING)
        self._fine.use()
        self._screen.render(moderngl.TRIANGLES, vertices=3)

    def _blend(self, drawables: list[_Drawable], eye: np.ndarray) -> None:
        self._ctx.enable(moderngl.BLEND)
        # Depth is tested but not written: see-through surfaces do not hide each other.
        self._fine_target.depth_mask = False
        for drawable in drawables:
            drawable.sort_towards(eye)
            self._draw(self._colour, drawable, (_FAINTEST, _OPAQUE_FROM))
        self._fine_target.depth_mask = True

    def _draw_depth(self, drawables: list[_Drawable]) -> None:
        self._depth_target.use()
        self._depth_target.clear()
        self._ctx.enable_only(moderngl.DEPTH_TEST)
        for drawable in drawables:
            lowest = drawable.part.material.visible_from
            self._draw(self._depth, drawable, (lowest, _ANY_ALPHA))

    def _draw(
        self, program: moderngl.Program, drawable: _Drawable, alpha_range: tuple[float, float]
    ) -> None:
        part = drawable.part
        material, is_disc = part.material, part.faces.shape[1] == 1
        layers = (material.base, material.specular, material.emission)
        _set(program, "is_disc", is_disc)
        _set(program, "alpha_range", alpha_range)
        for name, layer in zip(_LAYERS, layers, strict=True):
            _set_if_used(program, f"{name}_factor", (layer or _NO_LAYER).factor)
        if program is self._colour:
            _set(program, "has_specular", material.specular is not None)
            _set(program, "has_emission", material.emission is not None)
            _set(program, "unlit", material.unlit)
            _set(program, "blend", material.alpha_mode == "BLEND")
        for unit, texture in enumerate(drawable.textures):
            texture.use(unit)
        self._choose_faces(is_disc, material.double_sided)
        mode = moderngl.POINTS if is_disc else moderngl.TRIANGLES
        (drawable.colour if program is self._colour else drawable.depth).render(mode)

    def _choose_faces(self, is_disc: bool, double_sided: bool) -> None:
        """Show fronts alone unless a surface is double-sided; give discs their size."""
        (self._ctx.enable if is_disc else self._ctx.disable)(moderngl.PROGRAM_POINT_SIZE)
        (self._ctx.disable if double_sided else self._ctx.enable)(moderngl.CULL_FACE)


def open_with(settings: RenderSettings) -> Rasterizer:
    """Open the renderer. Raises ConfigError without a usable OpenGL."""
    return Rasterizer(settings.size_px)


def _clip_matrix(cameras: Cameras, view: int, radius_m: float) -> np.ndarray:
    """Compute camera frame to clip space; y stays down, so that GL's first row is the top."""
    (fx, skew, cx), (_, fy, cy), _ = cameras.intrinsics
    distance_m = float(np.linalg.norm(cameras.positions[view]))
    # As tight as the object allows, for the depth buffer's precision; a margin of 1 % for rounding,
    # and a near plane in front of a camera that stands inside the object's sphere.
    far = (distance_m + radius_m) * 1.01
    near = max((distance_m - radius_m) * 0.99, far * 1e-3)
    size = cameras.size_px
    return np.array(
        [
            [2 * fx / size, 2 * skew / size, 2 * cx / size - 1, 0],
            [0, 2 * fy / size, 2 * cy / size - 1, 0],
            [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )


def _gl_matrix(matrix: np.ndarray) -> tuple[float, ...]:
    return tuple(matrix.T.ravel().tolist())  # GL stores matrices column by column


def _set(program: moderngl.Program, uniform: str, value: object) -> None:
    cast(moderngl.Uniform, program[uniform]).value = value


def _set_if_used(program: moderngl.Program, uniform: str, value: object) -> None:
    """Set a uniform unless the compiler has dropped it."""
    if uniform in program:
        _set(program, uniform, value)
