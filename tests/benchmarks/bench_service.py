"""Throughput and latency of `vitlens serve` at rising concurrency.

`python -m tests.benchmarks.bench_service [SOURCE] [--seconds 10]` starts the service on a free
port with the champion of $VITLENS_HOME (or SOURCE), asks it for embeddings of shipped GLBs of up
to 200 kB, of texts and for searches, each at 1, 2, 4, 8 and 16 requests at a time, and prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import time
from typing import Any

import httpx
import numpy as np

from pipelines.objects.mirror import EMBEDDED
from pipelines.service import deployment
from pipelines.service.config import ServiceConfig
from pipelines.store.home import Home
from workflows.commands.serve import Arguments, settings
from workflows.environment import quiet_environment

CONCURRENCIES = (1, 2, 4, 8, 16)
LARGEST_BYTES = 200_000
WORDS = ("a red armchair", "a wooden table", "a car", "a street lamp", "an iron fence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", default="models:/vitlens-point_cloud@champion")
    parser.add_argument("--seconds", type=float, default=10, help="per kind and concurrency")
    parser.add_argument("--replicas", type=int, default=1)
    options = parser.parse_args()
    quiet_environment()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = Arguments((options.source,), port, replicas=options.replicas, no_token=True)
    config, search = settings(Home.from_environment(), arguments)
    with deployment.running(config, "127.0.0.1", port, options.replicas):
        url = f"http://127.0.0.1:{port}"
        found = asyncio.run(measure(url, options.seconds, searches=not search))
    told = {"source": options.source, "replicas": options.replicas, "cpus": os.cpu_count()}
    print(json.dumps({**told, "threads": config.threads, "config": stated(config)} | found))


def stated(config: ServiceConfig) -> dict[str, float]:
    return {name: getattr(config, name) for name in ("batch_size", "batch_wait_s", "decoders")}


async def measure(url: str, seconds: float, *, searches: bool) -> dict[str, Any]:
    """Figures by kind of request, a row per concurrency."""
    paths = sorted(EMBEDDED.rglob("*.glb"))
    glbs = [p.read_bytes() for p in paths if p.stat().st_size <= LARGEST_BYTES]
    files = [{"files": {"point_cloud": ("x.glb", data)}} for data in glbs]
    texts = [{"files": {"text": (None, words)}} for words in WORDS]
    kinds = {"embed GLB": ("/embed", files), "embed text": ("/embed", texts)}
    if searches:
        kinds["search by GLB"] = ("/search", files)
    figures: dict[str, Any] = {"glbs": len(glbs)}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for kind, (route, sent) in kinds.items():
            await loaded(client, route, sent, 2, seconds / 4)  # warm
            figures[kind] = [
                await loaded(client, route, sent, concurrency, seconds)
                for concurrency in CONCURRENCIES
            ]
    return figures


async def loaded(
    client: httpx.AsyncClient, route: str, sent: list[dict], concurrency: int, seconds: float
) -> dict[str, float]:
    """Requests per second and latencies of those answered with 200, with so many clients."""
    turns, taken_s = itertools.cycle(sent), []
    failed = 0
    end = time.monotonic() + seconds

    async def ask() -> None:
        nonlocal failed
        while time.monotonic() < end:
            started = time.monotonic()
            answer = await client.post(route, **next(turns))
            if answer.status_code == 200:
                taken_s.append(time.monotonic() - started)
            else:
                failed += 1

    started = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(concurrency)))
    if not taken_s:
        raise SystemExit(f"{route}: no request of {failed} was answered with 200")
    p50, p99 = np.percentile(taken_s, [50, 99])
    return {
        "concurrency": concurrency,
        "requests": len(taken_s),
        "failed": failed,
        "requests_per_s": round(len(taken_s) / (time.monotonic() - started), 2),
        "p50_ms": round(1000 * float(p50), 1),
        "p99_ms": round(1000 * float(p99), 1),
    }


if __name__ == "__main__":
    main()
