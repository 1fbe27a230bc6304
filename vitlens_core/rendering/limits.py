"""Limits of a child process that handles an untrusted file."""

import resource


def limit_memory(limit_mb: int) -> None:
    """Cap this process's address space at what it maps now plus `limit_mb`; forbid core dumps."""
    # Linux enforces no limit of resident memory, only one of the address space. Drivers and
    # libraries reserve much of it without using it, so that what they map already does not count.
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    limit = mapped + limit_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
