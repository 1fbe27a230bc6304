"""Settings of rendering: those that change its results, and the limits of each object."""

from dataclasses import dataclass
from typing import Literal, get_args

from vitlens_core.errors import ConfigError
from vitlens_core.rendering.cameras import Cameras, orbit

RendererName = Literal["rasterizer", "cycles"]  # modules beside this one


@dataclass(frozen=True)
class RenderSettings:
    """One view per polar angle and azimuth, ring by ring (12 by default).

    Polar angles are measured from straight up. Defaults follow the public 12-view recipe of
    OpenShape; the field of view just holds a whole cube. An object may take the memory limit in
    addition to the renderer's own memory. The child is replaced after `recycle_after` objects,
    because GL drivers leak. Cycles takes tens of CPU seconds per object: raise `time_limit_s`.

    Raises:
        ConfigError: a value is out of range; the message names the valid ones.
    """

    renderer: RendererName = "rasterizer"
    size_px: int = 224
    polar_deg: tuple[float, ...] = (60.0, 90.0, 120.0)
    azimuths: int = 4
    distance_m: float = 1.5
    fov_deg: float = 54.0
    points: int = 10_000
    time_limit_s: float = 60
    memory_limit_mb: int = 4096
    recycle_after: int = 300
    threads: int = 1

    def __post_init__(self) -> None:
        if self.renderer not in get_args(RendererName):
            raise ConfigError(
                f"renderer {self.renderer!r}: choose one of {', '.join(get_args(RendererName))}"
            )
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} {getattr(self, name)}: expected more than 0")
        self.cameras()  # raises on angles, counts and distances out of range

    def cameras(self) -> Cameras:
        """Place the cameras that the settings describe. Raises ConfigError on wrong angles."""
        return orbit(self.polar_deg, self.azimuths, self.distance_m, self.fov_deg, self.size_px)


_POSITIVE = ("points", "time_limit_s", "memory_limit_mb", "recycle_after", "threads")
