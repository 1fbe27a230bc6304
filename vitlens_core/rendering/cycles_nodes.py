"""Blender's shader nodes of one material; they state the colour of `surface` again for Cycles.

Sockets and outputs are Blender's; the protocols state what is used of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from vitlens_core.rendering.mesh import Layer, Material, Texture
from vitlens_core.rendering.surface import BRIGHTNESS, DIELECTRIC, METALLIC_FROM


class Socket(Protocol):
    """An input or output of a node."""

    default_value: object


class Sockets(Protocol):
    """The inputs or outputs of a node, by number or by name."""

    def __getitem__(self, key: int | str) -> Socket: ...
    def __iter__(self) -> Iterator[Socket]: ...


class Node(Protocol):
    """A node; the settings of its kind are set by name."""

    @property
    def inputs(self) -> Sockets: ...
    @property
    def outputs(self) -> Sockets: ...
    def __setattr__(self, name: str, value: object) -> None: ...


class Nodes(Protocol):
    """The nodes of a tree."""

    def new(self, kind: str) -> Node: ...


class Links(Protocol):
    """The links of a tree."""

    def new(self, output: Socket, socket: Socket) -> object: ...


class Tree(Protocol):
    """Blender's node tree of a material."""

    @property
    def nodes(self) -> Nodes: ...
    @property
    def links(self) -> Links: ...


Operand: TypeAlias = Socket | float


class Graph:
    """The shader nodes of one material."""

    def __init__(self, tree: Tree, image_of: Callable[[Texture], object]) -> None:
        self._tree = tree
        self._image_of = image_of

    def add(self, kind: str) -> Node:
        return self._tree.nodes.new(kind)

    def link(self, output: Operand, socket: Socket) -> None:
        """Feed a socket with an output, or with a number."""
        if isinstance(output, int | float):
            socket.default_value = output
        else:
            self._tree.links.new(output, socket)

    def layer(self, layer: Layer) -> tuple[Operand, Operand]:
        """Return colour and alpha of texture × factor."""
        factor = self.add("ShaderNodeRGB")
        factor.outputs[0].default_value = layer.factor
        if layer.texture is None:
            return factor.outputs[0], layer.factor[3]
        image = self.add("ShaderNodeTexImage")
        image.image = self._image_of(layer.texture)
        image.interpolation = "Closest" if layer.texture.nearest else "Linear"
        # Blender has one setting for both axes.
        image.extension = "REPEAT" if any(layer.texture.repeat) else "EXTEND"
        coordinates = self.add("ShaderNodeUVMap")
        coordinates.uv_map = f"uv{layer.uv}"
        self.link(coordinates.outputs["UV"], image.inputs["Vector"])
        colour = self.mix("MULTIPLY", image.outputs["Color"], factor.outputs[0])
        return colour, self.maths("MULTIPLY", image.outputs["Alpha"], layer.factor[3])

    def mix(self, operation: str, first: Operand, second: Operand, weight: Operand = 1.0) -> Socket:
        mix = self.add("ShaderNodeMix")
        mix.data_type, mix.blend_type = "RGBA", operation
        # By number: the node has sockets of one name for each type of data; 0 is the factor, 6 and
        # 7 are the colours, and output 2 is the result.
        self.link(weight, mix.inputs[0])
        self.link(first, mix.inputs[6])
        self.link(second, mix.inputs[7])
        return mix.outputs[2]

    def maths(self, operation: str, *operands: Operand) -> Socket:
        node = self.add("ShaderNodeMath")
        node.operation = operation
        for socket, operand in zip(node.inputs, operands, strict=False):
            self.link(operand, socket)
        return node.outputs[0]

    def visibility(self, source: Material, alpha: Operand) -> Operand:
        """Return alpha as the material means it; the back of a single-sided surface has none."""
        shown = 1.0 if source.alpha_mode == "OPAQUE" else alpha
        # No node cuts alpha off: 1 − (alpha < cut-off) does.
        if source.alpha_mode == "MASK":
            below = self.maths("LESS_THAN", alpha, source.alpha_cutoff)
            shown = self.maths("SUBTRACT", 1.0, below)
        if source.double_sided:
            return shown
        back = self.add("ShaderNodeNewGeometry").outputs["Backfacing"]
        return self.maths("MULTIPLY", shown, self.maths("SUBTRACT", 1.0, back))

    def base_of_specular(self, diffuse: Operand, specular: Operand) -> Operand:
        """Convert diffuse and specular colour to a base colour."""
        red, green, blue = self._channels(specular)
        strongest = self.maths("MAXIMUM", red, self.maths("MAXIMUM", green, blue))
        share = self.maths("DIVIDE", self.maths("SUBTRACT", 1.0, strongest), 1.0 - DIELECTRIC)
        reflected = self._brightness(specular)
        metallic = self._metallic(
            self.maths("MULTIPLY", self._brightness(diffuse), share), reflected
        )
        rest = self.maths("SUBTRACT", 1.0, metallic)
        kept = self.maths("DIVIDE", share, self.maths("MAXIMUM", rest, 1e-6))
        of_metal = self.mix("SUBTRACT", specular, self.maths("MULTIPLY", rest, DIELECTRIC))
        gain = self.maths("DIVIDE", 1.0, self.maths("MAXIMUM", metallic, 1e-6))
        return self.mix(
            "MIX",
            self.mix("MULTIPLY", diffuse, kept),
            self.mix("MULTIPLY", of_metal, gain),
            self.maths("MULTIPLY", metallic, metallic),
        )

    def _metallic(self, kept: Operand, reflected: Operand) -> Operand:
        linear = self.maths("SUBTRACT", self.maths("ADD", kept, reflected), 2 * DIELECTRIC)
        # linear² − 4 d (d − reflected), the discriminant
        inner = self.maths(
            "SUBTRACT", self.maths("MULTIPLY", reflected, 4 * DIELECTRIC), 4 * DIELECTRIC**2
        )
        square = self.maths("ADD", self.maths("MULTIPLY", linear, linear), inner)
        root = self.maths("SQRT", self.maths("MAXIMUM", square, 0.0))
        solved = self.maths("DIVIDE", self.maths("SUBTRACT", root, linear), 2 * DIELECTRIC)
        solved = self.maths("MINIMUM", self.maths("MAXIMUM", solved, 0.0), 1.0)
        is_more = self.maths("GREATER_THAN", reflected, METALLIC_FROM)
        return self.maths("MULTIPLY", solved, is_more)

    def _brightness(self, colour: Operand) -> Operand:
        total: Operand = 0.0
        for channel, weight in zip(self._channels(colour), BRIGHTNESS, strict=True):
            square = self.maths("MULTIPLY", channel, channel)
            total = self.maths("ADD", total, self.maths("MULTIPLY", square, weight))
        return self.maths("SQRT", total)

    def _channels(self, colour: Operand) -> tuple[Socket, Socket, Socket]:
        split = self.add("ShaderNodeSeparateColor")
        self.link(colour, split.inputs[0])
        red, green, blue = split.outputs
        return red, green, blue
