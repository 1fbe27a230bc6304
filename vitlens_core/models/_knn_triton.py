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
    KEPT: tl.constexpr,
    CENTRES: tl.constexpr,
    POINTS: tl.constexpr,
):
    """Find the KEPT nearest of `count` points to CENTRES centres of one cloud."""
    cloud, first = tl.program_id(0), tl.program_id(1) * CENTRES
    rows = first + tl.arange(0, CENTRES)
    is_row = rows < groups
    place = centres + (cloud * groups + rows) * 3
    cx = tl.load(place, mask=is_row, other=0.0)
    cy = tl.load(place + 1, mask=is_row, other=0.0)
    cz = tl.load(place + 2, mask=is_row, other=0.0)
    # Keys are negated, as the largest are kept; this one is behind every point.
    kept = tl.full((CENTRES, KEPT), -9223372036854775807, tl.int64)
    for start in range(0, count, POINTS):
        columns = start + tl.arange(0, POINTS)
        is_point = columns < count
        point = xyz + (cloud.to(tl.int64) * count + columns) * 3
        dx = tl.load(point, mask=is_point, other=0.0)[None, :] - cx[:, None]
        dy = tl.load(point + 1, mask=is_point, other=0.0)[None, :] - cy[:, None]
        dz = tl.load(point + 2, mask=is_point, other=0.0)[None, :] - cz[:, None]
        square = dx * dx + dy * dy + dz * dz
        bits = square.to(tl.int32, bitcast=True).to(tl.int64)
        keys = -((bits << 32) | columns[None, :].to(tl.int64))
        keys = tl.where(is_point[None, :], keys, -9223372036854775807)
        tile = tl.topk(keys, KEPT)
        kept = tl.topk(tl.reshape(tl.join(kept, tile), (CENTRES, 2 * KEPT)), KEPT)
    place = found + (cloud * groups + rows)[:, None] * KEPT + tl.arange(0, KEPT)[None, :]
    tl.store(place, (-kept) & 0xFFFFFFFF, mask=is_row[:, None])
