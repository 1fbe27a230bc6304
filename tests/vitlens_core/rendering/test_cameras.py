"""Orbit geometry and its inverse, from depth back to points."""

import numpy as np
import pytest

from tests.vitlens_core.rendering.orbits import orbit, unproject
from vitlens_core.errors import ConfigError


def _project(cameras, view: int, point: np.ndarray) -> np.ndarray:
    """Pixel x, y and planar depth of a stage point."""
    seen = cameras.world_to_cam[view, :3, :3] @ point + cameras.world_to_cam[view, :3, 3]
    x, y, _ = cameras.intrinsics @ seen / seen[2]
    return np.array([x, y, seen[2]])


def test_every_camera_looks_at_the_origin_from_its_distance() -> None:
    cameras = orbit(distance_m=1.5, size_px=224)
    assert len(cameras) == 12
    for view in range(12):
        np.testing.assert_allclose(_project(cameras, view, np.zeros(3)), [112, 112, 1.5])


def test_up_is_up_and_the_first_view_sees_the_front() -> None:
    cameras = orbit(polar_deg=(90.0,), azimuths=4, size_px=100)
    np.testing.assert_allclose(cameras.positions[0], [0, 0, 1.5], atol=1e-12)
    up, right = (
        _project(cameras, 0, np.array([0, 0.1, 0])),
        _project(cameras, 0, np.array([0.1, 0, 0])),
    )
    assert up[1] < 50 < right[0]
    assert up[0] == right[1] == pytest.approx(50)


def test_rotations_are_proper() -> None:
    rotations = orbit().cam_to_world[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (12, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1)


def test_no_two_views_share_an_azimuth() -> None:
    x, _, z = orbit().positions.T
    assert len(np.unique(np.round(np.degrees(np.arctan2(x, z)) % 360, 6))) == 12


def test_polar_angles_are_measured_from_straight_up() -> None:
    heights = orbit(polar_deg=(60.0, 90.0, 120.0), distance_m=2.0).positions[::4, 1]
    np.testing.assert_allclose(heights, [1, 0, -1], atol=1e-12)


def test_the_whole_of_a_normalised_cube_is_in_every_view() -> None:
    cameras = orbit()
    corners = 0.4 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    pixels = [_project(cameras, view, corner)[:2] for view in range(12) for corner in corners]
    assert 0 <= np.min(pixels) <= np.max(pixels) <= cameras.size_px


def test_unprojection_inverts_projection() -> None:
    cameras = orbit(size_px=8)
    depth_m = np.zeros((12, 8, 8), np.float32)
    depth_m[:, 2, 5] = 1.25
    points = unproject(cameras, depth_m)
    for view in range(12):
        np.testing.assert_allclose(_project(cameras, view, points[view, 2, 5]), [5.5, 2.5, 1.25])
    assert np.isnan(points[:, 0, 0]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"polar_deg": ()},
        {"polar_deg": (0.0,)},
        {"azimuths": 0},
        {"distance_m": 0.0},
        {"fov_deg": 180.0},
    ],
)
def test_impossible_orbits_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="expected"):
        orbit(**wrong)
