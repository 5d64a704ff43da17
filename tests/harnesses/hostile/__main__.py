"""Run the command of ``make hostile``."""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.harnesses.databases import Kind, database_server
from tests.harnesses.hostile.attack import attack
from tests.harnesses.hostile.judgement import problems, report, table
from tests.harnesses.hostile.outcome import Run
from tests.harnesses.hostile.placement import set_apart
from tests.harnesses.hostile.signing import MOST_PERIODS

SHOWN = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="make hostile", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=90, help="how long the attack lasts")
    parser.add_argument("--callers", default="all", help="names of callers, with commas between them")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    parser.add_argument(
        "--periods",
        type=int,
        default=2,
        choices=range(1, MOST_PERIODS + 1),
        help="how often attacks and calm times take turns",
    )
    parser.add_argument(
        "--shifts", type=int, default=2, help="in how many attacks each kind takes its turn; with 1, all attack at once"
    )
    parser.add_argument("--floor", choices=["same-core", "other-core"], help="attack a second server instead")
    parser.add_argument("--apart", action="store_true", help="run the API in a process of its own")
    given = parser.parse_args()
    if not 1 <= given.shifts <= given.periods:
        parser.error(f"--shifts should be from 1 to the number of periods, {given.periods}, is {given.shifts}")
    core = set_apart()
    if core is None:
        print("  this machine has no core for the server alone: what attackers cost themselves counts as well")
    run = Run(
        attack=given.seconds,
        callers=given.callers,
        periods=given.periods,
        shifts=given.shifts,
        core=core,
        floor=given.floor,
        apart=given.apart,
    )
    kinds: list[Kind] = ["sqlite", "postgres"] if given.database == "both" else [given.database]
    status = 0
    for kind in kinds:
        with database_server(kind) as url, contextlib.ExitStack() as stack:
            directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-hostile-")))
            outcome = asyncio.run(attack(run, directory / kind, url))
        found = problems(outcome)
        if outcome.gone is None:
            for line in table(outcome):
                print(f"  {line}")
        for problem in found[:SHOWN]:
            print(f"  {problem}")
        print(report(outcome, kind, found), flush=True)
        status = status or bool(found)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
