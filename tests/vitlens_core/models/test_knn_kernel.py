"""The kernel of nearest neighbours in Triton's interpreter, which runs it on a CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitlens_core.models.knn_kernel import fused_knn
from vitlens_core.models.points import knn, squared_distances

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="`make gpu` runs the compiled kernel"),
]


@pytest.fixture(scope="module", autouse=True)
def interpreted():
    """Before the kernel is imported: Triton reads the variable when it is declared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        yield


def _clouds(seed: int, batch: int, points: int) -> torch.Tensor:
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("batch", "points", "groups", "k"),
    [(2, 200, 5, 8), (1, 128, 16, 5), (1, 131, 17, 3), (1, 64, 2, 1), (1, 33, 3, 33)],
)
def test_it_finds_the_nearest_in_order(batch: int, points: int, groups: int, k: int) -> None:
    """Sizes beside those of tiles and beside powers of two."""
    xyz = _clouds(points, batch, points)
    centres = xyz[:, :groups]
    found = fused_knn(xyz, centres, k)
    assert found is not None
    assert found.shape == (batch, groups, k)
    distances = squared_distances(centres, xyz)
    expected = distances.topk(k, largest=False, sorted=True).values
    assert torch.equal(distances.gather(2, found), expected)
    assert torch.equal(found.sort().values, knn(xyz, centres, k).sort().values)


@given(seed=st.integers(0, 2**31), points=st.integers(4, 150), k=st.integers(1, 4))
@settings(deadline=None, max_examples=8)
def test_of_points_as_near_as_each_other_the_first_are_taken(
    seed: int, points: int, k: int
) -> None:
    """Coordinates of few values: many distances are equal."""
    xyz = _clouds(seed, 1, points).round()
    found = fused_knn(xyz, xyz[:, :2], k)
    assert found is not None
    keys = squared_distances(xyz[:, :2], xyz).double() * 1000 + torch.arange(points)
    assert torch.equal(found, keys.topk(k, largest=False, sorted=True).indices)
