"""How objects are rendered: the part of a render job's config that changes its results, and
the limits put on each object."""

from dataclasses import dataclass
from typing import Literal, get_args

from vitlens_core.errors import ConfigError
from vitlens_core.rendering.cameras import Cameras, orbit

RendererName = Literal["rasterizer", "cycles"]


@dataclass(frozen=True)
class RenderSettings:
    """One view per polar angle and azimuth, polar angle first (12 by default).

    Polar angles are measured from straight up. Defaults follow the public 12-view recipe of
    OpenShape; the field of view just holds a whole cube. The memory limit is what an object may
    take on top of the renderer; the child starts afresh after `recycle_after` objects, because
    GL drivers leak. Cycles takes tens of CPU seconds an object: raise
    `time_limit_s`.

    Raises:
        ConfigError: a value out of range; names the valid ones.
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
        self.cameras()

    def cameras(self) -> Cameras:
        """The cameras described; checks their angles."""
        return orbit(self.polar_deg, self.azimuths, self.distance_m, self.fov_deg, self.size_px)


_POSITIVE = ("points", "time_limit_s", "memory_limit_mb", "recycle_after", "threads")
