"""Run the command of ``make ssrf``."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.harnesses.databases import Kind, database_server
from tests.harnesses.ssrf.attempt import Outcome, attempt
from tests.harnesses.ssrf.resolver import ALLOWED

RUNS: dict[str, tuple[str, ...]] = {
    "no list": (),
    "one address": (f"{ALLOWED}/32",),
    "everything": ("0.0.0.0/0", "::/0"),
}


async def run(name: str, directory: Path, database: str | None) -> Outcome:
    """Run one of `RUNS`. If everything is allowed, only the addresses are tried that nothing allows."""
    return await attempt(directory, database, allowed=RUNS[name], only_never=name == "everything")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make ssrf", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--show", action="store_true", help="print how each form was refused")
    given = parser.parse_args()
    kinds: list[Kind] = ["sqlite", "postgres"] if given.database == "both" else [given.database]
    found = 0
    for kind in kinds:
        for name in RUNS:
            with database_server(kind) as url, tempfile.TemporaryDirectory(prefix="tcsfeel-ssrf-") as directory:
                outcome = asyncio.run(run(name, Path(directory), url))
            if given.show:
                for what in (outcome.at_registration | outcome.at_call, outcome.at_creation | outcome.at_delivery):
                    for tried, reason in what.items():
                        print(f"  {tried!r}: {reason}")
            problems = outcome.problems()
            for problem in problems:
                print(f"  {problem}")
            found += len(problems)
            print(f"{kind}, {name} allowed: {outcome}; {'ok' if not problems else 'NOT OK'}", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
