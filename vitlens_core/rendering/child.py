"""What the render child does; `sandbox` starts it in a `vitlens_core.sandbox` child."""

from collections.abc import Mapping
from dataclasses import asdict

from pydantic import TypeAdapter

from vitlens_core.rendering.renderer import ObjectRenderer
from vitlens_core.rendering.settings import RenderSettings
from vitlens_core.sandbox.child import Arrays, Handler
from vitlens_core.sandbox.wire import Fields

_SETTINGS = TypeAdapter(RenderSettings)


def open_renderer(settings: Fields) -> Handler:
    """Open a renderer, which takes a seed and GLB bytes and answers with an object.

    Raises:
        ConfigError: this machine lacks something that the renderer needs.
    """
    renderer = ObjectRenderer(_SETTINGS.validate_python(settings))

    def render(fields: Fields, arrays: Arrays) -> tuple[Mapping[str, object], Arrays]:
        rendered = renderer.render(arrays["glb"].tobytes(), fields["seed"])
        told = {"normalisation": asdict(rendered.normalisation), "seconds": rendered.seconds}
        told["renderer"] = rendered.renderer
        views = {"rgba": rendered.rgba, "depth_m": rendered.depth_m}
        return told, {**views, "points": rendered.points}

    return render
