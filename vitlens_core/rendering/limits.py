"""What a child that handles a stranger's file may take."""

import resource


def limit_memory(limit_mb: int) -> None:
    """Cap this process's address space at what it already maps plus `limit_mb`; no core dumps."""
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    limit = mapped + limit_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
