"""Memory of this process. Imports nothing, so that a measured process is what it is without it."""

from __future__ import annotations

from pathlib import Path


def peak_memory_mb() -> float:
    """The most memory that this program was resident with; `getrusage` counts its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10
