"""Series: the same content in every type, layout and container is read alike."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitlens_core.errors import InputError
from vitlens_core.modalities import imu

RNG = np.random.default_rng(0)
written_once = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
SERIES = RNG.normal(size=(2000, 6)).round(4)
AXES = ["ax", "ay", "az", "gx", "gy", "gz"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "ax,ay,az,gx,gy,gz",
        "acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z",
        "accel x,accel y,accel z,gyro x (rad/s),gyro y (rad/s),gyro z (rad/s)",
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_imu_table_is_read_with_and_without_names(
    tmp_path: Path, header: str | None, separator: str, mark: str
) -> None:
    lines = [] if header is None else [header.replace(",", separator)]
    lines += [separator.join(map(str, line)) for line in SERIES]
    (tmp_path / "a.csv").write_text(mark + "\n".join(lines) + "\n", encoding="utf-8")
    np.testing.assert_allclose(imu.MODALITY.read(tmp_path / "a.csv"), SERIES.T, rtol=1e-6)


@given(order=st.sampled_from(list(permutations(range(6)))[::37]))
@written_once
def test_names_tell_which_column_is_which(tmp_path: Path, order: tuple[int, ...]) -> None:
    names = ["time", *(AXES[i] for i in order)]
    lines = [",".join(map(str, [n, *SERIES[n, list(order)]])) for n in range(len(SERIES))]
    (tmp_path / "a.csv").write_text("\n".join([",".join(names), *lines]))
    np.testing.assert_allclose(imu.MODALITY.read(tmp_path / "a.csv"), SERIES.T, rtol=1e-6)


def test_names_that_tell_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c,d,e,f\n1,2,3,4,5,6\n")
    with pytest.raises(InputError, match="named a, b, c, d, e, f; expected ax, ay, az"):
        imu.MODALITY.read(tmp_path / "a.csv")


def test_decimal_commas_are_numbers(tmp_path: Path) -> None:
    lines = [";".join(str(v).replace(".", ",") for v in line) for line in SERIES]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(imu.MODALITY.read(tmp_path / "a.csv"), SERIES.T, rtol=1e-6)
