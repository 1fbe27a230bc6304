"""The render child: `python -m vitlens_core.rendering.child <fd>`, started by `sandbox`.

It reads settings, then pairs of seed and GLB from the inherited pipe, and answers each with an
object or a reason. It ends when the pipe closes, so that it outlives its parent by at most one
object.
"""

import json
import signal
import sys
import traceback
from dataclasses import asdict
from multiprocessing.connection import Connection

from vitlens_core.errors import BadSampleError, ConfigError
from vitlens_core.rendering import wire
from vitlens_core.rendering.limits import limit_memory
from vitlens_core.rendering.renderer import ObjectRenderer
from vitlens_core.rendering.settings import RenderSettings

# The child ends itself this much later than the parent would have killed it.
_GRACE_S = 10.0


def main(connection: Connection) -> None:
    """Render objects until the parent closes the pipe."""
    settings = RenderSettings(**_tupled(json.loads(connection.recv_bytes())))
    try:
        renderer = ObjectRenderer(settings)
    except ConfigError as error:
        wire.send(connection, {"config_error": str(error)})
        return
    # After the renderer is open: the limit is on what objects take in addition.
    limit_memory(settings.memory_limit_mb)
    wire.send(connection, {"ready": True})
    while True:
        try:
            seed = int.from_bytes(connection.recv_bytes(), "little")
            glb = connection.recv_bytes()
        except EOFError:
            return
        # The parent kills sooner than this alarm, which ends a child whose parent has died.
        signal.setitimer(signal.ITIMER_REAL, settings.time_limit_s + _GRACE_S)
        _answer(connection, renderer, glb, seed, settings)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(
    connection: Connection,
    renderer: ObjectRenderer,
    glb: bytes,
    seed: int,
    settings: RenderSettings,
) -> None:
    try:
        result = renderer.render(glb, seed)
    except BadSampleError as error:
        wire.send(connection, {"bad_sample": str(error)})
    except MemoryError:
        wire.send(connection, {"bad_sample": f"needs more than {settings.memory_limit_mb} MB"})
    except Exception as error:  # no error that one object causes may end the job
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"renderer failed: {type(error).__name__}: {error} ({where.name}:{where.lineno})"
        wire.send(connection, {"bad_sample": reason})
    else:
        fields = {"normalisation": asdict(result.normalisation), "seconds": result.seconds}
        wire.send(
            connection, fields, rgba=result.rgba, depth_m=result.depth_m, points=result.points
        )


def _tupled(settings: dict) -> dict:
    # JSON has no tuples.
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
