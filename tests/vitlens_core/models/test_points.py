"""Point neighbourhoods against plain loops, and their properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitlens_core.errors import InputError
from vitlens_core.models.points import (
    ball_query,
    farthest_point_sample,
    gather_points,
    knn,
    squared_distances,
)

seeds = st.integers(0, 2**31)
quick = settings(deadline=None, max_examples=20)


def _cloud(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


def _farthest_points_by_loop(xyz: torch.Tensor, count: int, start: int) -> list[int]:
    chosen = [start]
    while len(chosen) < count:
        distances = torch.cdist(xyz.double(), xyz[chosen].double()).amin(dim=1)
        chosen.append(int(distances.argmax()))
    return chosen


@given(seed=seeds, start=st.integers(0, 29))
@quick
def test_farthest_points_are_those_of_a_plain_loop(seed, start):
    clouds = _cloud(seed, 2, 30)
    expected = [_farthest_points_by_loop(cloud, 12, start) for cloud in clouds]
    assert farthest_point_sample(clouds, 12, start=start).tolist() == expected


@given(seed=seeds)
@quick
def test_a_prefix_of_a_farthest_point_sample_is_one(seed):
    clouds = _cloud(seed, 2, 50)
    assert torch.equal(farthest_point_sample(clouds, 20)[:, :7], farthest_point_sample(clouds, 7))


@given(seed=seeds)
@quick
def test_farthest_points_do_not_depend_on_the_batch_or_the_place(seed):
    clouds = _cloud(seed, 3, 40)
    whole = farthest_point_sample(clouds, 10)
    assert torch.equal(torch.cat([farthest_point_sample(c[None], 10) for c in clouds]), whole)
    assert torch.equal(
        farthest_point_sample(clouds.half().float() + 4, 10),
        farthest_point_sample(clouds.half().float(), 10),
    )


def test_all_points_are_chosen_once():
    chosen = farthest_point_sample(_cloud(0, 2, 25), 25)
    assert torch.equal(chosen.sort(dim=1).values, torch.arange(25).expand(2, -1))


def test_a_random_start_varies_and_follows_the_seed():
    clouds = _cloud(0, 1, 1000).expand(20, -1, -1)
    torch.manual_seed(1)
    first = farthest_point_sample(clouds, 3, start=None)
    torch.manual_seed(1)
    assert torch.equal(farthest_point_sample(clouds, 3, start=None), first)
    assert len(first[:, 0].unique()) > 10


@given(seed=seeds, k=st.integers(1, 30))
@quick
def test_neighbours_are_the_nearest(seed, k):
    clouds, centres = _cloud(seed, 2, 30), _cloud(seed + 1, 2, 5)
    expected = torch.cdist(centres.double(), clouds.double()).argsort(dim=-1)[..., :k]
    found = knn(clouds, centres, k)
    assert torch.equal(found.sort(dim=-1).values, expected.sort(dim=-1).values)


@given(seed=seeds, radius=st.floats(0.1, 3))
@quick
def test_balls_keep_the_first_points_within_their_radius(seed, radius):
    clouds = _cloud(seed, 2, 20)
    found = ball_query(clouds, clouds[:, :4], radius, 6)
    for cloud, balls in zip(clouds, found, strict=True):
        for centre, ball in zip(cloud[:4], balls.tolist(), strict=True):
            distances = (cloud.double() - centre.double()).norm(dim=-1)
            inside = (distances <= radius).nonzero().flatten().tolist()[:6]
            assert ball == inside + inside[:1] * (6 - len(inside))


def test_gathering_takes_each_clouds_own_points():
    points = torch.arange(24.0).view(2, 4, 3)
    index = torch.tensor([[[0, 3], [1, 1]], [[2, 2], [0, 1]]])
    gathered = gather_points(points, index)
    assert gathered.shape == (2, 2, 2, 3)
    for batch in range(2):
        assert torch.equal(gathered[batch], points[batch][index[batch]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: farthest_point_sample(torch.zeros(2, 5, 6), 2), r"\[B, N, 3\], found \[2, 5, 6\]"),
        (lambda: farthest_point_sample(torch.zeros(2, 5, 3), 6), "at least 6 points"),
        (lambda: knn(torch.zeros(2, 5, 3), torch.zeros(2, 1, 3), 9), "at least 9 points"),
        (lambda: ball_query(torch.zeros(5, 3), torch.zeros(1, 3), 1.0, 2), r"found \[5, 3\]"),
    ],
)
def test_wrong_clouds_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_neighbours_found_a_few_centres_at_a_time_are_those_of_all() -> None:
    """12 million distances, of which a third is held at a time; the last part is a shorter one."""
    xyz = torch.randn(1, 4000, 3, generator=torch.Generator().manual_seed(0))
    found = knn(xyz, xyz[:, :3001], 4)
    expected = squared_distances(xyz[:, :3001], xyz).topk(4, largest=False).indices
    assert torch.equal(found.sort().values, expected.sort().values)
