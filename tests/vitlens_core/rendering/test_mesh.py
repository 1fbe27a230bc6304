"""Normalisation onto the stage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vitlens_core.rendering.glb_builder import QUAD, QUAD_FACES, TRIANGLE, Glb, cube
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import load_glb, normalise

COORDINATE = st.floats(-1000, 1000)


@given(scale=st.floats(1e-3, 1e3), offset=st.tuples(COORDINATE, COORDINATE, COORDINATE))
def test_the_longest_side_is_scaled_and_the_box_centred(
    scale: float, offset: tuple[float, float, float]
) -> None:
    glb = cube()
    glb.document["nodes"][0].update(scale=[scale, scale / 2, scale / 4], translation=offset)
    low, high = normalise(load_glb(glb.pack()))[0].bounds()
    rounding = 1e-3 + 1e-6 * max(map(abs, offset)) / scale  # float32 positions far from 0
    np.testing.assert_allclose(high - low, [0.8, 0.4, 0.2], atol=rounding)
    np.testing.assert_allclose(high + low, 0, atol=rounding)


def test_the_normalisation_can_be_undone() -> None:
    glb = Glb()
    glb.show(glb.add_mesh(), translation=[3, 4, 5], scale=[7, 7, 7])
    mesh = load_glb(glb.pack())
    staged, normalisation = normalise(mesh)
    original = staged.parts[0].positions / normalisation.scale + normalisation.centre
    np.testing.assert_allclose(original, mesh.parts[0].positions, rtol=1e-5)


def test_vertices_without_a_triangle_do_not_move_the_box() -> None:
    glb = Glb()
    stray = np.vstack([QUAD, [[1e6, 0, 0]]]).astype(np.float32)
    glb.show(glb.add_mesh(stray, QUAD_FACES))
    assert normalise(load_glb(glb.pack()))[1].scale == pytest.approx(0.4)


def test_the_smallest_and_largest_numbers_are_handled() -> None:
    for factor in (1e-44, 1e38):
        glb = Glb()
        glb.show(glb.add_mesh((TRIANGLE * factor).astype(np.float32)))
        low, high = normalise(load_glb(glb.pack()))[0].bounds()
        np.testing.assert_allclose(high - low, [0.8, 0.8, 0], rtol=1e-5)


def test_an_object_without_extent_is_refused() -> None:
    glb = Glb()
    glb.show(glb.add_mesh(TRIANGLE * np.float32(0)))
    with pytest.raises(BadSampleError, match="degenerate geometry"):
        normalise(load_glb(glb.pack()))
