"""The child: `python -m vitlens_core.sandbox.child <descriptor> <parent>`, started by `worker`.

It opens what it is told to, gives up its rights, and answers requests from the inherited socket
until that closes.
"""

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping

import numpy as np

from vitlens_core import notes
from vitlens_core.errors import BadSampleError, ConfigError, VitlensError
from vitlens_core.sandbox import limits, lock
from vitlens_core.sandbox.wire import TOLD, Channel, Fields, Setup

# Decoders in circles of references keep memory and threads until they are collected.
_COLLECT_MB = 32
Arrays = dict[str, np.ndarray]
Handler = Callable[[Fields, Arrays], tuple[Mapping[str, object], Arrays]]
"""Takes a request's fields and arrays, and returns those of its answer.

It raises an error of vitlens for a file that it refuses.
"""


def main(channel: Channel) -> None:
    """Open, give up rights, and answer until the parent closes the socket."""
    stated, _ = channel.receive()
    setup = Setup(**stated)
    devices, scratch = setup.devices, setup.scratch
    if scratch is not None:
        os.environ["TMPDIR"] = scratch
    module, _, name = setup.opener.partition(":")
    opener = getattr(importlib.import_module(module), name)
    for other in setup.modules:
        importlib.import_module(other)
    has_files = lock.restrict_files(setup.readable, devices=devices, scratch=scratch)
    try:
        handler: Handler = opener(setup.settings)
    except ConfigError as error:
        channel.send({"config_error": str(error)})
        return
    # After all is open: the limit is on what files take in addition.
    # Collecting later looks at what files made only: .5 ms instead of 100.
    gc.collect()
    gc.freeze()
    limits.limit_memory(setup.memory_mb, devices=devices)
    opened_mb = limits.used_mb(devices=devices)
    has_calls = lock.restrict_calls(
        devices=devices, scratch=scratch is not None, files_are_restricted=has_files
    )
    channel.send({"files": has_files, "calls": has_calls})
    while True:
        try:
            fields, arrays = channel.receive()
        except EOFError:
            return
        limits.limit_processor(setup.processor_s)
        told, answered = _answer(handler, fields, arrays, setup.memory_mb)
        del fields, arrays
        # What decoders leak is missing to the files that follow: the parent replaces the child.
        if limits.used_mb(devices=devices) > opened_mb + _COLLECT_MB:
            gc.collect()
        told["grown_mb"] = limits.used_mb(devices=devices) - opened_mb
        channel.send(told, **answered)


def _answer(
    handler: Handler, fields: Fields, arrays: Arrays, memory_mb: int
) -> tuple[dict[str, object], Arrays]:
    kind, reason = BadSampleError.__name__, ""
    try:
        with notes.collected() as found:
            told, answered = handler(fields, arrays)
    except VitlensError as error:
        kind = type(error).__name__ if type(error).__name__ in TOLD else kind
        reason = str(error)
    except MemoryError:
        reason = f"needs more than {memory_mb} MB"
    except Exception as error:  # no file may end the child: the next one waits
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"cannot be read: {type(error).__name__}: {error} ({where.name}:{where.lineno})"
    else:
        return {"answer": told, "notes": found}, answered
    return {"error": kind, "reason": reason[:10_000]}, {}


if __name__ == "__main__":
    limits.die_with(int(sys.argv[2]))
    main(Channel(int(sys.argv[1])))
    os._exit(0)  # ends at once: libraries may want to write or fork when they end
