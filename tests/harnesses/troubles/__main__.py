"""Run the command of ``make faults``."""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.harnesses.databases import Kind, database_server, new_database
from tests.harnesses.troubles import clock, databases, fleet, limits
from tests.harnesses.troubles.stage import Scenario, Trouble, check_times

BOTH: dict[str, Scenario] = {
    "the clock steps back": clock.steps_back,
    "the clock steps forward": clock.steps_forward,
    "the clock steps back across a restart": clock.steps_back_across_a_restart,
    "the clock steps forward and back": clock.stays_away_no_longer_than_it_is,
    "clients die behind a step back": clock.dead_clients_are_noticed,
    "the disk is full": limits.full_disk,
    "the disk stays full": limits.full_disk_for_good,
    "nothing can be written": limits.database_without_room,
    "no descriptors": limits.no_descriptors,
    "no memory": limits.no_memory,
    "no place to write": limits.no_place_to_write,
    "agents leave": fleet.leave,
    "agents leave for a moment": fleet.leave_for_a_moment,
    "agents move": fleet.move,
    "agents double": fleet.double,
}
POSTGRES: dict[str, Scenario] = {
    "the database is slow": databases.slow,
    "the database is silent": databases.silent,
}


async def run(scenarios: Mapping[str, Scenario], directory: Path, server: str | None) -> list[str]:
    """Run scenarios one after the other, each with its own database. Returns a line for each that failed."""
    failed = []
    for number, (name, scenario) in enumerate(scenarios.items()):
        place = directory / str(number)
        async with new_database(server, place / "database") as url:
            try:
                took = await scenario(place, url)
                check_times(took)
            except (Trouble, AssertionError, OSError) as error:
                failed.append(f"{name}: {error}")
                print(f"  FAILED  {name}: {error}", flush=True)
            else:
                steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in took.items() if step != "begin")
                print(f"  ok      {name}: {steps}", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--only", help="words that the names of the scenarios to run hold")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    kinds: list[Kind] = ["sqlite", "postgres"] if given.database == "both" else [given.database]
    status = 0
    for kind in kinds:
        wanted = {
            name: scenario
            for name, scenario in (BOTH | POSTGRES if kind == "postgres" else BOTH).items()
            if given.only is None or given.only in name
        }
        with database_server(kind) as url, contextlib.ExitStack() as stack:
            directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-faults-")))
            failed = asyncio.run(run(wanted, directory / kind, url))
        status = status or bool(failed)
        ends = "ok" if not failed else f"{len(failed)} PROBLEMS"
        print(f"faults on {kind}: {len(wanted)} scenarios; load {os.getloadavg()[0]:.1f}; {ends}", flush=True)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
