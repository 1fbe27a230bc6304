"""The high-quality renderer: Blender's Cycles path tracer through `bpy` (optional, GPL).

It has the interface, the cameras and the depth of the rasteriser, but traces indirect light and
shadows. It takes a Mesh instead of a GLB, so that both renderers use the one safe loader. bpy keeps
global state: a process can have one instance (`RenderWorker` gives it a process of its own).
"""

import io
import os

import bpy  # ty: ignore[import-not-found]
import mathutils  # ty: ignore[import-not-found]
import numpy as np
from PIL import Image

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.cameras import Cameras
from vitlens_core.rendering.cycles_nodes import Graph
from vitlens_core.rendering.hulls import outline_hulls
from vitlens_core.rendering.mesh import Material, Mesh, Part, Texture
from vitlens_core.rendering.rasterizer import KEY_DIRECTION, Rasterizer
from vitlens_core.rendering.settings import RenderSettings
from vitlens_core.rendering.views import Views

_SAMPLES = 16  # per pixel; the denoiser removes the noise that is left
_AMBIENT = 0.6
_KEY_IRRADIANCE = 0.4 * np.pi  # a white wall facing the light returns ambient + key = 1
# Blender's cameras look along −z with y up, ours along +z with y down.
_TO_BLENDER_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])


class CyclesRenderer:
    """Renders meshes one after the other; exact depth without noise comes from the rasteriser."""

    def __init__(self, size_px: int, threads: int) -> None:
        self._rasterizer = Rasterizer(size_px)
        self.name = f"Cycles of Blender {bpy.app.version_string}; depth by {self._rasterizer.name}"
        self._threads = threads
        # Blender writes pictures to paths only: this one is in memory.
        self._picture = os.memfd_create("cycles-picture")
        self._size_px = size_px

    def close(self) -> None:
        """Close the depth renderer and the picture in memory."""
        self._rasterizer.close()
        os.close(self._picture)

    def render(self, mesh: Mesh, cameras: Cameras) -> Views:
        """Render colour and depth from every camera.

        Raises:
            BadSampleError: the object has no surface.
        """
        if mesh.corners != 3:
            raise BadSampleError(
                "an object of points or lines has no surface that Cycles can show; "
                "set renderer to rasterizer"
            )
        depth_m = self._rasterizer.render(mesh, cameras).depth_m
        scene, camera, key = self._new_scene(cameras)
        textures: dict[int, bpy.types.Image] = {}
        hulls = outline_hulls(mesh)
        for number, part in enumerate(mesh.parts):
            thing = _object(part, textures)
            if number in hulls:
                _show_to_camera_only(thing)
            scene.collection.objects.link(thing)
        pictures = []
        for pose in cameras.cam_to_world:
            camera.matrix_world = mathutils.Matrix(pose @ _TO_BLENDER_CAMERA)
            key.matrix_world = mathutils.Matrix(_sun_pose(pose[:3, :3] @ KEY_DIRECTION))
            bpy.ops.render.render(write_still=True, scene=scene.name)
            pictures.append(self._read_picture())
        return Views(np.stack(pictures), depth_m)

    def _new_scene(
        self, cameras: Cameras
    ) -> tuple["bpy.types.Scene", "bpy.types.Object", "bpy.types.Object"]:
        """Make an empty scene with its camera and key light."""
        # Nothing of the previous object may stay in Blender's memory.
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        scene.render.threads_mode, scene.render.threads = "FIXED", self._threads
        _set_up_render(scene, self._size_px, f"/proc/self/fd/{self._picture}")
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        camera.data.angle = 2 * np.arctan(cameras.size_px / 2 / cameras.intrinsics[0, 0])
        camera.data.clip_start = 0.01
        sun = bpy.data.lights.new("key", "SUN")
        # A sun this wide casts soft shadows.
        sun.energy, sun.angle = _KEY_IRRADIANCE, np.radians(30)
        key = bpy.data.objects.new("key", sun)
        for thing in (camera, key):
            scene.collection.objects.link(thing)
        scene.camera = camera
        return scene, camera, key

    def _read_picture(self) -> np.ndarray:
        """Read the PNG that Blender wrote into memory, [H, W, 4] uint8."""
        os.lseek(self._picture, 0, os.SEEK_SET)
        encoded = os.read(self._picture, os.fstat(self._picture).st_size)
        return np.asarray(Image.open(io.BytesIO(encoded), formats=("PNG",)).convert("RGBA"))


def open_with(settings: RenderSettings) -> CyclesRenderer:
    """Open the renderer. Raises ConfigError without a usable OpenGL, which draws the depth."""
    return CyclesRenderer(settings.size_px, settings.threads)


def _set_up_render(scene: "bpy.types.Scene", size_px: int, path: str) -> None:
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.resolution_x = render.resolution_y = size_px
    render.resolution_percentage = 100
    render.film_transparent = True
    render.use_persistent_data = True  # views share the scene's acceleration structure
    render.filepath, render.use_file_extension = path, False
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    cycles.samples, cycles.seed, cycles.use_denoising = _SAMPLES, 0, True
    # Plain sRGB: Blender's default transform would change the colours.
    scene.view_settings.view_transform = "Standard"
    scene.world = bpy.data.worlds.new("ambient")
    scene.world.use_nodes = True
    background = scene.world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (1, 1, 1, 1)
    background.inputs["Strength"].default_value = _AMBIENT


def _show_to_camera_only(thing: "bpy.types.Object") -> None:
    """Let light through an outline hull, which would leave what it outlines in the dark."""
    thing.visible_diffuse = thing.visible_glossy = thing.visible_shadow = False
    thing.visible_transmission = thing.visible_volume_scatter = False


def _object(part: Part, textures: dict[int, "bpy.types.Image"]) -> "bpy.types.Object":
    """Make a Blender object of a part, in the stage frame."""
    mesh = bpy.data.meshes.new("part")
    corners = part.faces.reshape(-1)
    mesh.vertices.add(len(part.positions))
    mesh.vertices.foreach_set("co", part.positions.ravel())
    mesh.loops.add(len(corners))
    mesh.loops.foreach_set("vertex_index", corners.astype(np.int32))
    mesh.polygons.add(len(part.faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, len(corners), 3, dtype=np.int32))
    for row, coordinates in enumerate(part.uv):
        uv = coordinates[corners] * [1, -1] + [0, 1]  # Blender's v points up
        layer = mesh.uv_layers.new(name=f"uv{row}")
        layer.data.foreach_set("uv", uv.astype(np.float32).ravel())
    colours = mesh.color_attributes.new("colour", "FLOAT_COLOR", "POINT")
    colours.data.foreach_set("color", part.colours.ravel())
    mesh.update(calc_edges=True)
    # Removes what Blender cannot take, such as a face that uses a vertex twice.
    mesh.validate()
    mesh.normals_split_custom_set_from_vertices(part.normals)
    mesh.materials.append(_material(part.material, textures))
    return bpy.data.objects.new("part", mesh)


def _material(source: Material, textures: dict[int, "bpy.types.Image"]) -> "bpy.types.Material":
    """Make a matt material of the colour that `surface` states, or one that emits it."""
    material = bpy.data.materials.new("material")
    material.use_nodes = True
    graph = Graph(material.node_tree, lambda texture: _image(texture, textures))
    surface = material.node_tree.nodes["Principled BSDF"]
    surface.inputs["Specular IOR Level"].default_value = 0.0
    vertex = graph.add("ShaderNodeVertexColor")
    vertex.layer_name = "colour"
    base, base_alpha = graph.layer(source.base)
    colour = graph.mix("MULTIPLY", vertex.outputs["Color"], base)
    if source.specular is not None:
        colour = graph.base_of_specular(colour, graph.layer(source.specular)[0])
    if source.unlit:
        surface.inputs["Base Color"].default_value = (0, 0, 0, 1)
        graph.link(colour, surface.inputs["Emission Color"])
    else:
        graph.link(colour, surface.inputs["Base Color"])
    if source.emission is not None:
        graph.link(graph.layer(source.emission)[0], surface.inputs["Emission Color"])
    glows = source.unlit or source.emission is not None
    surface.inputs["Emission Strength"].default_value = float(glows)
    alpha = graph.maths("MULTIPLY", vertex.outputs["Alpha"], base_alpha)
    graph.link(graph.visibility(source, alpha), surface.inputs["Alpha"])
    return material


def _image(texture: Texture, textures: dict[int, "bpy.types.Image"]) -> "bpy.types.Image":
    """Return the texture as a Blender image (sRGB by default), whose rows run bottom to top."""
    if id(texture) not in textures:
        height, width = texture.texels.shape[:2]
        image = bpy.data.images.new("texture", width, height, alpha=True)
        pixels = texture.texels[::-1].astype(np.float32) / np.float32(255)
        image.pixels.foreach_set(pixels.ravel())
        image.pack()
        textures[id(texture)] = image
    return textures[id(texture)]


def _sun_pose(towards_light: np.ndarray) -> np.ndarray:
    """Compute a pose [4, 4] whose −z, along which a sun shines, points away from the light."""
    z = towards_light / np.linalg.norm(towards_light)
    # Any axis that is not nearly parallel to z serves.
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    return pose
