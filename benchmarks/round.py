"""What one round costs: wall time, and CPU seconds of the control plane, with trainers that take no time."""

import argparse
import statistics
from collections.abc import Sequence

from benchmarks.arena import arena, databases
from benchmarks.machine import Times, Usage, cpu_seconds

CLIENTS = (10, 50)
MODEL_BYTES = (10_000, 1_000_000)


def main(arguments: Sequence[str]) -> int:
    """Wall time and the control plane's CPU time of one round, by clients and model size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks round", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--model-bytes", type=int, nargs="+", default=MODEL_BYTES)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="sqlite")
    options = parser.parse_args(arguments)
    print(f"{'database':10}{'clients':>8}{'model':>12}{'wall':>9}{'max':>8}{'CPU':>9}{'memory':>9}   machine")
    slowest = 0.0
    with databases(options.database) as servers:
        for name, server_url in servers.items():
            for clients in options.clients:
                for model_bytes in options.model_bytes:
                    with arena(clients=clients, model_bytes=model_bytes, server_url=server_url) as found:
                        found.train(1)  # the first round fetches the model and opens the connections
                        pids = [child.pid for child in (found.server, *found.agents)]
                        times, before, cpu = Times.now(), Usage.of(found.server.pid), sum(map(cpu_seconds, pids))
                        seconds = found.train(options.rounds)
                        after = Usage.of(found.server.pid)
                        machine = times.report(sum(map(cpu_seconds, pids)) - cpu)
                    median = statistics.median(seconds)
                    slowest = max(slowest, median)
                    print(
                        f"{name:10}{clients:8}{model_bytes:10,} B{median:7.3f} s{max(seconds):6.2f} s"
                        f"{(after.cpu - before.cpu) / options.rounds:7.3f} s{after.peak:6.0f} MB   {machine}",
                        flush=True,
                    )
    print(f"round: the slowest median is {slowest:.3f} s")
    return 0
