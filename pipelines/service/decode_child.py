"""decode_child: a child process that reads files.

`python -m pipelines.service.decode_child <fd> <MB>` receives (preparation, path, options) from the
inherited pipe, answers each with an array or a reason, and ends when the pipe closes.
"""

import sys
import traceback
from multiprocessing.connection import Connection

# Imported before memory is limited: the libraries that reading any modality needs.
import vitlens_core.api.encoders  # noqa: F401
from vitlens_core import late
from vitlens_core.errors import VitlensError
from vitlens_core.rendering import wire
from vitlens_core.rendering.limits import limit_memory


def main(connection: Connection, memory_limit_mb: int) -> None:
    """Serve files until the parent closes the pipe."""
    late.load_now()
    limit_memory(memory_limit_mb)
    wire.send(connection, {"ready": True})
    while True:
        try:
            preparation, path, options = connection.recv()
        except EOFError:
            return
        try:
            prepared = preparation(path, options)
        except VitlensError as error:
            wire.send(connection, {"refused": str(error)})
        except MemoryError:
            reason = f"{path} needs more than {memory_limit_mb} MB to be read"
            wire.send(connection, {"refused": reason})
        except Exception as error:  # no file may end the child: the next one waits
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{path} cannot be read: {type(error).__name__}: {error} ({where.name})"
            wire.send(connection, {"refused": reason})
        else:
            wire.send(connection, {}, prepared=prepared)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), int(sys.argv[2]))
