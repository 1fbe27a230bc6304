"""The same red box in every format that folders of objects may have, 1 × 2 × 3 units, 3 upwards.

Written by hand, so that a reader is not tested by the library that it uses.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

RED = (200, 60, 30)
SIZE = {"x": 1.0, "y": 2.0, "z": 3.0}
# Corner n has the bits of n as its coordinates; two triangles for each side, outwards.
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
TRIANGLES = np.array([t for q in QUADS for t in ((q[0], q[1], q[2]), (q[0], q[2], q[3]))])


def corners(up: str = "y") -> np.ndarray:
    """The corners [8, 3] of the box; the side of 3 lies along the axis `up`."""
    sides = [1.0, 2.0, 3.0]
    axis = "xyz".index(up[-1])
    order = [s for s in sides if s != 3.0]
    order.insert(axis, 3.0)
    return np.array(list(product((0, 1), repeat=3)), float) * order


def png(colour: tuple[int, int, int] = RED) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "png")
    return buffer.getvalue()


def write(folder: Path, name: str, ending: str, up: str = "y") -> Path:
    """Write the box as `<name><ending>` with the files that belong to it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{ending}"
    _WRITERS[ending](path, corners(up))
    return path


def _obj(path: Path, points: np.ndarray) -> None:
    lines = [f"mtllib {path.stem}.mtl", "usemtl paint"]
    lines += [f"v {x} {y} {z}" for x, y, z in points] + ["vt 0.5 0.5"]
    lines += ["f " + " ".join(f"{i + 1}/1" for i in face) for face in TRIANGLES]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".mtl").write_text(f"newmtl paint\nKd 1 1 1\nmap_Kd {path.stem}-paint.png\n")
    path.with_name(f"{path.stem}-paint.png").write_bytes(png())


def _ply(path: Path, points: np.ndarray) -> None:
    header = ["ply", "format ascii 1.0", "element vertex 8"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    header += ["element face 12", "property list uchar int vertex_indices", "end_header"]
    lines = [" ".join(map(str, (*point, *RED))) for point in points]
    lines += [f"3 {a} {b} {c}" for a, b, c in TRIANGLES]
    path.write_text("\n".join(header + lines) + "\n")


def _stl(path: Path, points: np.ndarray) -> None:
    records = np.zeros(12, [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")])
    records["c"] = points[TRIANGLES]
    path.write_bytes(b"a box".ljust(80) + (12).to_bytes(4, "little") + records.tobytes())


def _off(path: Path, points: np.ndarray) -> None:
    lines = ["COFF", "8 12 0"]
    lines += [" ".join(map(str, (*point, *RED, 255))) for point in points]
    lines += [f"3 {a} {b} {c}" for a, b, c in TRIANGLES]
    path.write_text("\n".join(lines) + "\n")


def _gltf_document(points: np.ndarray) -> tuple[dict, bytes]:
    positions = points.astype("<f4").tobytes()
    uv = np.full((8, 2), 0.5, "<f4").tobytes()
    indices = TRIANGLES.astype("<u4").tobytes()
    data = positions + uv + indices
    views, at = [], 0
    for part in (positions, uv, indices):
        views.append({"buffer": 0, "byteOffset": at, "byteLength": len(part)})
        at += len(part)
    bounds = {"min": points.min(0).tolist(), "max": points.max(0).tolist()}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
                ]
            }
        ],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5126, "count": 8, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5125, "count": 36, "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }
    return document, data


def _gltf(path: Path, points: np.ndarray) -> None:
    document, data = _gltf_document(points)
    document["buffers"][0]["uri"] = f"{path.stem}.bin"
    document["images"] = [{"uri": f"{path.stem}%20paint.png"}]
    path.write_text(json.dumps(document))
    path.with_suffix(".bin").write_bytes(data)
    path.with_name(f"{path.stem} paint.png").write_bytes(png())


def _glb(path: Path, points: np.ndarray) -> None:
    document, data = _gltf_document(points)
    encoded = base64.b64encode(png()).decode()
    document["images"] = [{"uri": f"data:image/png;base64,{encoded}"}]
    chunk = json.dumps(document).encode()
    chunk += b" " * (-len(chunk) % 4)
    body = struct.pack("<I4s", len(chunk), b"JSON") + chunk
    body += struct.pack("<I4s", len(data), b"BIN\0") + data
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def _dae(path: Path, points: np.ndarray) -> None:
    red = " ".join(str(c / 255) for c in RED)
    space = "http://www.collada.org/2005/11/COLLADASchema"
    path.write_text(f"""<?xml version="1.0" encoding="utf-8"?>
<COLLADA xmlns="{space}" version="1.4.1">
<asset><created>2026-01-01T00:00:00</created><modified>2026-01-01T00:00:00</modified>
<unit name="decimeter" meter="0.1"/><up_axis>Z_UP</up_axis></asset>
<library_effects><effect id="e"><profile_COMMON><technique sid="common"><lambert>
<diffuse><color>{red} 1</color></diffuse></lambert></technique></profile_COMMON></effect>
</library_effects>
<library_materials><material id="m"><instance_effect url="#e"/></material></library_materials>
<library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="a" count="24">{" ".join(map(str, points.ravel()))}</float_array>
<technique_common><accessor source="#a" count="8" stride="3"><param name="X" type="float"/>
<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles count="12" material="paint"><input semantic="VERTEX" source="#v" offset="0"/>
<p>{" ".join(map(str, TRIANGLES.ravel()))}</p></triangles></mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="s"><node><instance_geometry url="#g"><bind_material>
<technique_common><instance_material symbol="paint" target="#m"/></technique_common>
</bind_material></instance_geometry></node></visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#s"/></scene></COLLADA>
""")


def _3mf(path: Path, points: np.ndarray) -> None:
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in points)
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in TRIANGLES)
    space = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
    model = (
        f'<?xml version="1.0" encoding="UTF-8"?><model unit="centimeter" xmlns="{space}">'
        f'<resources><object id="1" type="model"><mesh><vertices>{vertices}</vertices>'
        f"<triangles>{faces}</triangles></mesh></object></resources>"
        '<build><item objectid="1"/></build></model>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("3D/3dmodel.model", model)


def _step(path: Path, points: np.ndarray) -> None:
    """A solid of six plane faces with a colour, in millimetres (AP214)."""
    lines: list[str] = []

    def add(entity: str) -> str:
        lines.append(f"#{len(lines) + 1}={entity};")
        return f"#{len(lines)}"

    def listed(items: list[str]) -> str:
        return f"({','.join(items)})"

    def direction(vector: np.ndarray) -> str:
        x, y, z = (vector / np.linalg.norm(vector)).tolist()
        return add(f"DIRECTION('',({x},{y},{z}))")

    places = [add(f"CARTESIAN_POINT('',({x},{y},{z}))") for x, y, z in points.tolist()]
    vertices = [add(f"VERTEX_POINT('',{place})") for place in places]
    edges: dict[tuple[int, int], str] = {}
    for quad in QUADS:
        for a, b in zip(quad, (*quad[1:], quad[0]), strict=True):
            low, high = min(a, b), max(a, b)
            if (low, high) in edges:
                continue
            along = points[high] - points[low]
            vector = add(f"VECTOR('',{direction(along)},{float(np.linalg.norm(along))})")
            line = add(f"LINE('',{places[low]},{vector})")
            edges[low, high] = add(f"EDGE_CURVE('',{vertices[low]},{vertices[high]},{line},.T.)")
    faces = []
    for quad in QUADS:
        loop = [
            add(f"ORIENTED_EDGE('',*,*,{edges[min(a, b), max(a, b)]},{'.T.' if a < b else '.F.'})")
            for a, b in zip(quad, (*quad[1:], quad[0]), strict=True)
        ]
        across = points[quad[1]] - points[quad[0]]
        normal = np.cross(across, points[quad[3]] - points[quad[0]])
        frame = add(
            f"AXIS2_PLACEMENT_3D('',{places[quad[0]]},{direction(normal)},{direction(across)})"
        )
        edge_loop = add(f"EDGE_LOOP('',{listed(loop)})")
        bound = add(f"FACE_OUTER_BOUND('',{edge_loop},.T.)")
        plane = add(f"PLANE('',{frame})")
        faces.append(add(f"ADVANCED_FACE('',({bound}),{plane},.T.)"))
    shell = add(f"CLOSED_SHELL('',{listed(faces)})")
    solid = add(f"MANIFOLD_SOLID_BREP('',{shell})")
    length = add("(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT(.MILLI.,.METRE.))")
    angle = add("(NAMED_UNIT(*)PLANE_ANGLE_UNIT()SI_UNIT($,.RADIAN.))")
    solid_angle = add("(NAMED_UNIT(*)SI_UNIT($,.STERADIAN.)SOLID_ANGLE_UNIT())")
    doubt = add(f"UNCERTAINTY_MEASURE_WITH_UNIT(LENGTH_MEASURE(1.E-07),{length},'distance','')")
    context = add(
        "(GEOMETRIC_REPRESENTATION_CONTEXT(3)GLOBAL_UNCERTAINTY_ASSIGNED_CONTEXT"
        f"(({doubt}))GLOBAL_UNIT_ASSIGNED_CONTEXT(({length},{angle},{solid_angle}))"
        "REPRESENTATION_CONTEXT('',''))"
    )
    red = ",".join(str(c / 255) for c in RED)
    colour = add(f"COLOUR_RGB('',{red})")
    fill = add(f"FILL_AREA_STYLE_COLOUR('',{colour})")
    filled = add(f"FILL_AREA_STYLE('',({fill}))")
    area = add(f"SURFACE_STYLE_FILL_AREA({filled})")
    side = add(f"SURFACE_SIDE_STYLE('',({area}))")
    usage = add(f"SURFACE_STYLE_USAGE(.BOTH.,{side})")
    style = add(f"PRESENTATION_STYLE_ASSIGNMENT(({usage}))")
    styled = add(f"STYLED_ITEM('',({style}),{solid})")
    add(f"MECHANICAL_DESIGN_GEOMETRIC_PRESENTATION_REPRESENTATION('',({styled}),{context})")
    shape = add(f"ADVANCED_BREP_SHAPE_REPRESENTATION('',({solid}),{context})")
    application = add("APPLICATION_CONTEXT('automotive design')")
    add(f"APPLICATION_PROTOCOL_DEFINITION('','automotive_design',2000,{application})")
    product_context = add(f"PRODUCT_CONTEXT('',{application},'mechanical')")
    product_ = add(f"PRODUCT('box','box','',({product_context}))")
    add(f"PRODUCT_RELATED_PRODUCT_CATEGORY('part',$,({product_}))")
    formation = add(f"PRODUCT_DEFINITION_FORMATION('','',{product_})")
    design = add(f"PRODUCT_DEFINITION_CONTEXT('part definition',{application},'design')")
    definition = add(f"PRODUCT_DEFINITION('design','',{formation},{design})")
    of_shape = add(f"PRODUCT_DEFINITION_SHAPE('','',{definition})")
    add(f"SHAPE_DEFINITION_REPRESENTATION({of_shape},{shape})")
    body = "\n".join(lines)
    path.write_text(
        "ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\n"
        "FILE_NAME('box','2026-01-01T00:00:00',(''),(''),'','','');\n"
        "FILE_SCHEMA(('AUTOMOTIVE_DESIGN'));\nENDSEC;\nDATA;\n"
        f"{body}\nENDSEC;\nEND-ISO-10303-21;\n"
    )


_WRITERS = {
    ".obj": _obj,
    ".ply": _ply,
    ".stl": _stl,
    ".off": _off,
    ".gltf": _gltf,
    ".glb": _glb,
    ".dae": _dae,
    ".3mf": _3mf,
    ".step": _step,
}
ENDINGS = tuple(_WRITERS)
COLOURED = tuple(ending for ending in ENDINGS if ending not in (".stl", ".3mf"))
# The axis that points up in each format, and metres of the unit in which the box is written.
OWN_UP = {ending: "z" if ending in (".dae", ".3mf", ".step") else "y" for ending in ENDINGS}
OWN_UNIT_M = dict.fromkeys(ENDINGS, 1.0) | {".dae": 0.1, ".3mf": 0.01, ".step": 0.001}
