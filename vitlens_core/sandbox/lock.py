"""Takes a process's rights, in two steps: which files first, which system calls last.

Landlock comes before anything is opened, since it does not reach threads that run already. The
filter of system calls comes when all is open, since opening needs more of them.
"""

import os
import site
import sys
import sysconfig
from pathlib import Path

from vitlens_core.sandbox import landlock, limits, seccomp

# What libraries read when they are imported or opened late. None of these holds a secret.
_SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system",
)
_OF_DRIVERS = (
    "/etc/glvnd",
    "/etc/drirc",
    "/etc/vulkan",
    "/proc/driver",
    "/proc/modules",
    "/proc/devices",
    "/sys",
)
_GIVEN_UP: list[bool] = []
_DEVICES = ("/dev/dri", "/dev/nvidia-uvm", "/dev/nvidia-modeset", "/dev/nvidiactl", "/dev/null")


def protections() -> dict[str, str]:
    """Return what this machine's kernel has for a child, by name, and "missing: …" for the rest."""
    known = landlock.version()
    no_files = "missing: a child can read what this user can read (Linux 5.13 has Landlock)"
    no_calls = "missing: a child can open sockets and start programs"
    return {
        "files": f"Landlock {known}" if known else no_files,
        "calls": "seccomp" if seccomp.is_known() else no_calls,
        "environment": "clean",
        "limits": "memory, processor time, open files, output",
        "parent": "ends with it",
    }


def is_child() -> bool:
    """Whether this process has given up its rights; it cannot start a child then."""
    return bool(_GIVEN_UP)


def restrict_files(readable: list[str], *, devices: bool, scratch: str | None = None) -> bool:
    """Keep this process to `readable`, its libraries and, if asked for, graphics devices.

    Args:
        scratch: a folder to write in, for libraries that cannot do without.
    """
    folders = [Path(folder) for folder in (*readable, *_SYSTEM, *(_OF_DRIVERS * devices))]
    cards = [*map(Path, _DEVICES), *Path("/dev").glob("nvidia[0-9]*")] if devices else []
    _GIVEN_UP.append(True)
    limits.limit_files(has_scratch=scratch is not None)
    limits.drop_rights()
    # A thread that runs already would stay free, and could be made to open anything.
    is_alone = len(os.listdir("/proc/self/task")) == 1
    own = None if scratch is None else Path(scratch)
    return landlock.restrict_files([*folders, *_libraries()], cards, own) and is_alone


def restrict_calls(*, devices: bool, scratch: bool, files_are_restricted: bool) -> bool:
    """Keep this process to the system calls of a reader."""
    # Without Landlock the filter alone must keep files from being written.
    return seccomp.restrict_calls(
        devices=devices and files_are_restricted, scratch=scratch and files_are_restricted
    )


def _libraries() -> list[Path]:
    """Return the folders that Python imports from, without a folder that may hold data."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {Path(sysconfig.get_path(name)) for name in names}
    folders |= {Path(entry) for entry in sys.path if Path(entry).name.endswith("-packages")}
    folders |= {Path(sys.base_prefix, "lib"), Path(site.getusersitepackages())}
    # A folder on the path, such as a checkout, may hold anything: of it only loaded packages.
    packages = [
        Path(place)
        for name, module in list(sys.modules.items())
        if "." not in name
        for place in getattr(module, "__path__", ())
    ]
    zips = [Path(entry) for entry in sys.path if entry.endswith(".zip")]
    return [*folders, *packages, *zips]
