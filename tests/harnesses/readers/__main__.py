"""Run the command of ``make readers``.

Readers follow the stream of events, and webhooks send them, while a training runs. Rounds without them are compared
with rounds with them. Then the replica that drives the training is killed again and again, and everybody who followed
it goes on at another one, or at the same one once it is back. In the end everybody must have every event.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import mean

from tests.harnesses.databases import database_server
from tests.harnesses.readers.judgement import Outcome
from tests.harnesses.readers.run import Run, follow

SLOWER = 0.10  # by which rounds may be longer


def report(outcome: Outcome, run: Run, database: str, found: list[str]) -> str:
    """Return the last line of the report."""
    without, with_readers = (
        f"{mean(one for one, _ in windows):.3f} s and {mean(cpu for _, cpu in windows):.3f} CPU s"
        for windows in (outcome.without, outcome.with_readers)
    )
    return (
        f"readers on {database}: {run.readers} readers, {run.webhooks} webhooks, {outcome.events} events, "
        f"{outcome.kills} kills, {outcome.connections} connections, {outcome.doubled} deliveries came again; a round "
        f"takes {without} without them, {with_readers} with them ({outcome.slower:+.1%}); "
        f"{'ok' if not found else f'{len(found)} PROBLEMS'}"
    )


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make readers", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--readers", type=int, default=Run.readers)
    parser.add_argument("--kills", type=int, default=Run.kills)
    parser.add_argument("--rounds", type=int, default=Run.rounds, help="in each window of the comparison")
    given = parser.parse_args()
    run = Run(readers=given.readers, kills=given.kills, rounds=given.rounds)
    wrong = 0
    for database in ("sqlite", "postgres") if given.database == "both" else (given.database,):
        with database_server(database) as server, contextlib.ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-readers-"))
            outcome = await follow(run, Path(name), server)
        found = outcome.problems
        if outcome.slower > SLOWER:
            found.append(f"rounds are {outcome.slower:.1%} longer, more than {SLOWER:.0%}")
        for problem in found:
            print(f"  {problem}")
        print(report(outcome, run, database, found), flush=True)
        wrong += len(found)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
