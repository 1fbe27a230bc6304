"""Handles untrusted files in child processes that can do nothing else.

    Sandbox ── fields, bytes of a file ──▶ child ── fields, arrays ──▶ Sandbox

A child opens what it needs (a renderer, the readers), gives up its rights, and then takes file
after file. It reads the folders that it was given and system libraries, and nothing else: no
environment, no network, no other process, no file to write (for libraries that cannot do without,
files in one folder of its own, `scratch`). It has limits on memory, time, output
and open files, and ends with its parent. A child that crashes, stalls or overruns a limit is
replaced; the file is refused with the reason.

    worker      the parent's side: `Sandbox`
    pool        several of them, shared by threads
    child       the process; `lock` puts the protections on
    landlock    which files it may open (Linux 5.13)
    seccomp     which system calls it may make
    limits      memory, files, core dumps
    wire        messages: JSON and plain arrays, never pickle

`protections` says which of these this machine has. Renders, data sets, the service and
`Model.encode(trusted=False)` use this package; nothing else starts children for files.
"""

from vitlens_core.sandbox.lock import is_child, protections
from vitlens_core.sandbox.pool import Pool
from vitlens_core.sandbox.worker import Answer, Limits, Sandbox

__all__ = ["Answer", "Limits", "Pool", "Sandbox", "is_child", "protections"]
