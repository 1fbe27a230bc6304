"""What the render child does; `sandbox` starts it in a `vitlens_core.sandbox` child."""

from dataclasses import asdict
from typing import Any

from vitlens_core.rendering.renderer import ObjectRenderer
from vitlens_core.rendering.settings import RenderSettings
from vitlens_core.sandbox.child import Arrays, Handler


def open_renderer(settings: dict[str, Any]) -> Handler:
    """Open a renderer, which takes a seed and GLB bytes and answers with an object.

    Raises:
        ConfigError: this machine lacks something that the renderer needs.
    """
    renderer = ObjectRenderer(RenderSettings(**_tupled(settings)))

    def render(fields: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        rendered = renderer.render(arrays["glb"].tobytes(), fields["seed"])
        told = {"normalisation": asdict(rendered.normalisation), "seconds": rendered.seconds}
        told["renderer"] = rendered.renderer
        views = {"rgba": rendered.rgba, "depth_m": rendered.depth_m}
        return told, {**views, "points": rendered.points}

    return render


def _tupled(settings: dict[str, Any]) -> dict[str, Any]:
    # JSON has no tuples.
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
