"""The glTF extensions that are known, and how each is treated: one table.

An extension that is not in the table is ignored where it is optional, as the specification asks of
a reader, and refused where the document requires it.
"""

from collections.abc import Iterable
from enum import Enum

from vitlens_core.errors import BadSampleError


class Treatment(Enum):
    """What the reader does about an extension."""

    READ = "read"
    HARMLESS = "ignored: it changes neither shape nor base colour"
    FALLBACK = "ignored: the file holds what is to be shown without it; refused where required"
    REFUSED = "refused wherever a shown object uses it: the file holds nothing to show instead"


_BY_TREATMENT = {
    Treatment.READ: (
        "EXT_mesh_gpu_instancing",
        "EXT_texture_avif",
        "EXT_texture_webp",
        "KHR_draco_mesh_compression",
        "KHR_gaussian_splatting",  # as the points and colours that its splats have
        "KHR_materials_emissive_strength",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_unlit",
        "KHR_mesh_quantization",
        "KHR_node_visibility",
        "KHR_texture_transform",
        "MSFT_lod",  # the finest level
    ),
    Treatment.HARMLESS: (
        "ADOBE_materials_clearcoat_specular",
        "ADOBE_materials_clearcoat_tint",
        "ADOBE_materials_thin_transparency",
        "AGI_articulations",
        "AGI_stk_metadata",
        "CESIUM_RTC",  # moves the whole object, which is centred
        "CESIUM_primitive_outline",
        "EXT_instance_features",
        "EXT_lights_ies",
        "EXT_lights_image_based",
        "EXT_mesh_features",
        "EXT_mesh_manifold",
        "EXT_mesh_primitive_edge_visibility",
        "EXT_mesh_primitive_restart",  # the primitives that it would join are there
        "EXT_structural_metadata",
        "FB_geometry_metadata",
        "FB_ngon_encoding",
        "GODOT_single_root",
        "GRIFFEL_bim_data",
        "KHR_animation_pointer",
        "KHR_audio_emitter",
        "KHR_interactivity",
        "KHR_lights_punctual",
        "KHR_materials_anisotropy",
        "KHR_materials_clearcoat",
        "KHR_materials_diffuse_transmission",
        "KHR_materials_dispersion",
        "KHR_materials_ior",
        "KHR_materials_iridescence",
        "KHR_materials_sheen",
        "KHR_materials_specular",
        "KHR_materials_transmission",
        "KHR_materials_variants",  # a primitive's own material is the default variant
        "KHR_materials_volume",
        "KHR_materials_volume_scatter",
        "KHR_node_hoverability",
        "KHR_node_selectability",
        "KHR_physics_rigid_bodies",
        "KHR_xmp",
        "KHR_xmp_json_ld",
        "MSFT_packing_normalRoughnessMetallic",
        "MSFT_packing_occlusionRoughnessMetallic",
    ),
    Treatment.FALLBACK: (
        "EXT_meshopt_compression",  # buffers with bytes of their own
        "EXT_texture_astc",
        "EXT_texture_video",
        "KHR_meshopt_compression",
        "KHR_texture_basisu",
        "MPEG_texture_video",
        "MSFT_texture_dds",
        "NV_materials_mdl",
        "VRMC_materials_mtoon",
    ),
    Treatment.REFUSED: (
        "KHR_gaussian_splatting_compression_spz",
        "KHR_gaussian_splatting_compression_spz_2",
        "KHR_materials_common",  # materials without a base colour of their own
        "KHR_techniques_webgl",
        "MPEG_accessor_timed",
        "WEB3D_quantized_attributes",
    ),
}
EXTENSIONS: dict[str, Treatment] = {
    name: treatment for treatment, names in _BY_TREATMENT.items() for name in names
}
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
_DO = "export the object without it"


def check_required(names: Iterable[str]) -> None:
    """Refuse a document that requires what is not read. Raises BadSampleError."""
    readable = (Treatment.READ, Treatment.HARMLESS)
    unknown = sorted({name for name in names if EXTENSIONS.get(name) not in readable})
    if unknown:
        raise BadSampleError(f"requires unsupported extensions: {', '.join(unknown)}; {_DO}")


def check_used(names: Iterable[str], where: str) -> None:
    """Refuse an object of a document that cannot be read without one of `names`.

    Raises:
        BadSampleError: names the extension.
    """
    for name in names:
        if EXTENSIONS.get(name) is Treatment.REFUSED:
            raise BadSampleError(f"{where} is stored in {name}, which is not read; {_DO}")
