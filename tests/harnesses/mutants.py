"""Check that the crash run fails if the product is broken: ``make crash-mutants``. Otherwise it could not find faults.

This is a shorter run in which one promise of the product is broken (see `mutations`), with more of the faults that need
this promise. The same faults must do no harm to the product as it is.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.harnesses.crash import REPEATS, Outcome, Run, calm, crash
from tests.harnesses.databases import database_server
from tests.harnesses.history import History, differences
from tests.harnesses.mutations import MUTATIONS
from tests.harnesses.waves import Work

WAVES = 3
PATIENCE = 300.0  # seconds that the product as it is may take
NOTHING = History({}, {}, {})
LONGER = 4  # times as long as the product took, after which a mutant is stuck
# Each write that a late owner might add to those of its successor. If the successor works, every one of them shows:
# as a step of a round done twice, or as a key that is there already.
LATE = dict.fromkeys(("before planned", "before committed", "before measured"), 0.3)
RUNS = {
    "no-fence": Run(
        waves=WAVES, kills_at={}, pause=None, stalls_at=LATE, stall_seconds=(2.5, 3.5), stalls_alone=True, tick=0.6
    ),
    "settle-twice": Run(repeats_of=REPEATS | {"settled": 0.5}),
    "replace-model": Run(repeats_of=REPEATS | {"committed": 0.5}),
    "carry-twice": Run(work=Work(carry=True), kills_at={}, stalls_at={}, pause=None),
    "child-twice": Run(work=Work(relay=True, pull=True), kills_at={}, stalls_at={}, pause=None),
}


def short(name: str, mutant: str | None) -> Run:
    """Return the run that has to find a mutant, with the mutant or without it."""
    return replace(RUNS[name], mutant=mutant, kills=None, patience=PATIENCE)


async def judged(run: Run, directory: Path, server: str | None, without: History) -> tuple[Outcome, list[str]]:
    """Run, and return everything that is wrong."""
    outcome = await crash(run, directory, server)
    return outcome, outcome.problems + (differences(outcome.history, without) if run.work.fixed else [])


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash-mutants", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--only", choices=sorted(MUTATIONS), action="append", help="try this mutant alone")
    parser.add_argument("--lease", type=float, default=1.0, help="as for crash")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    began = time.monotonic()
    wrong = []
    with database_server(given.database) as server, contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-mutants-")))
        tried = given.only or list(MUTATIONS)
        fixed = any(RUNS[name].work.fixed for name in tried)
        without = await calm(short("no-fence", None), WAVES, directory / "calm", server) if fixed else NOTHING
        for name in tried:
            patience = PATIENCE
            for mutant in (None, name):
                run = replace(short(name, mutant), patience=patience, lease=given.lease)
                outcome, found = await judged(run, directory / f"{name}-{mutant}", server, without)
                patience = min(PATIENCE, LONGER * outcome.seconds)
                as_it_should = bool(found) == bool(mutant)
                if not as_it_should:
                    wrong.append(f"{name} {mutant}")
                print(_line(name, mutant, outcome, found), flush=True)
    print(
        f"crash-mutants on {given.database}: {len(tried)} mutants in {time.monotonic() - began:.0f} s; "
        f"{'every one caught' if not wrong else 'WRONG: ' + ', '.join(wrong)}"
    )
    return 1 if wrong else 0


def _line(name: str, mutant: str | None, outcome: Outcome, found: list[str]) -> str:
    faults = f"{outcome.kills.total()} kills, {outcome.stalls} stalls, {outcome.repeats} repeats"
    first = f"{len(found)} problems, such as: {found[0][:200]}" if found else "no problem"
    if mutant is None:
        return f"  faults of {name}, no mutant: {'ok' if not found else 'WRONG'} ({faults}; {first})"
    return f"  mutant {name}: {'caught' if found else 'NOT CAUGHT'} ({faults}; {first})"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
