"""Run the command of ``make authz``."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import httpx2

from tests.e2e.servers import UNLIMITED
from tests.harnesses.authz.revocation import MOST_SECONDS, replicas, revocations
from tests.harnesses.authz.walk import walk
from tests.harnesses.databases import Kind, database_server, new_database


async def run(directory: Path, server: str | None, times: int) -> tuple[str, list[str]]:
    """Walk a real server on a new database, and revoke keys on one of two. Returns a report and the problems."""
    async with new_database(server, directory / "database") as url:
        here, there = replicas(directory, url, **UNLIMITED)
        try:
            await here.start()
            async with here.api() as api, httpx2.AsyncClient(base_url=here.url, timeout=30) as anonymous:
                outcome = await walk(api, anonymous, here.key, lambda: asyncio.sleep(0.05))
            await there.start()
            took = await revocations(here, there, times)
        finally:
            here.kill()
            there.kill()
    report = f"{outcome}; {times} revoked keys were refused by another server after {max(took):.1f} s at most"
    late = [f"a revoked key was refused after {one:.1f} s" for one in took if one > MOST_SECONDS]
    return report, outcome.problems + late


def main() -> int:
    parser = argparse.ArgumentParser(prog="make authz", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--times", type=int, default=10, help="how many keys are revoked")
    given = parser.parse_args()
    kinds: list[Kind] = ["sqlite", "postgres"] if given.database == "both" else [given.database]
    found = 0
    for kind in kinds:
        with database_server(kind) as server, tempfile.TemporaryDirectory(prefix="tcsfeel-authz-") as directory:
            report, problems = asyncio.run(run(Path(directory), server, given.times))
        for problem in problems:
            print(f"  {problem}")
        found += len(problems)
        print(f"{kind}: {report}; {'ok' if not problems else 'NOT OK'}", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
