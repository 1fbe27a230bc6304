"""The kernel of `knn_kernel`; importing it needs Triton."""

import triton
import triton.language as tl


@triton.jit
def nearest(
    xyz,
    centres,
    found,
    count,
    groups,
    kept_count: tl.constexpr,
    centre_count: tl.constexpr,
    point_count: tl.constexpr,
):
    """Find the `kept_count` nearest of `count` points to some centres of one cloud."""
    cloud, first = tl.program_id(0), tl.program_id(1) * centre_count
    rows = first + tl.arange(0, centre_count)
    is_row = rows < groups
    place = centres + (cloud * groups + rows) * 3
    cx = tl.load(place, mask=is_row, other=0.0)
    cy = tl.load(place + 1, mask=is_row, other=0.0)
    cz = tl.load(place + 2, mask=is_row, other=0.0)
    # Keys are negated, as the largest are kept; this one is behind every point.
    kept = tl.full((centre_count, kept_count), -9223372036854775807, tl.int64)
    for start in range(0, count, point_count):
        columns = start + tl.arange(0, point_count)
        is_point = columns < count
        point = xyz + (cloud.to(tl.int64) * count + columns) * 3
        dx = tl.load(point, mask=is_point, other=0.0)[None, :] - cx[:, None]
        dy = tl.load(point + 1, mask=is_point, other=0.0)[None, :] - cy[:, None]
        dz = tl.load(point + 2, mask=is_point, other=0.0)[None, :] - cz[:, None]
        square = dx * dx + dy * dy + dz * dz
        bits = square.to(tl.int32, bitcast=True).to(tl.int64)
        keys = -((bits << 32) | columns[None, :].to(tl.int64))
        keys = tl.where(is_point[None, :], keys, -9223372036854775807)
        tile = tl.topk(keys, kept_count)  # ty: ignore[invalid-argument-type]  its stubs differ
        both = tl.reshape(tl.join(kept, tile), (centre_count, 2 * kept_count))
        kept = tl.topk(both, kept_count)  # ty: ignore[invalid-argument-type]
    place = (
        found + (cloud * groups + rows)[:, None] * kept_count + tl.arange(0, kept_count)[None, :]
    )
    tl.store(place, (-kept) & 0xFFFFFFFF, mask=is_row[:, None])
