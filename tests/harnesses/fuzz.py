"""Call the API of a real server by its own document, as a caller of each role: ``make fuzz SEEDS=3``.

schemathesis makes requests that follow the OpenAPI document and requests that break it, in all of its phases, and
checks each answer with all of its checks but one. Each role and each seed gets a new server and a new database.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.servers import UNLIMITED, Server, call, server, unhandled
from tests.harnesses.databases import Kind, database_server, new_database

ROLES = ("viewer", "operator", "admin", "agent")
LEAST_CASES = 2_000  # of all roles and seeds together
SECONDS = 90  # for one answer; the longest wait that a caller may ask for is shorter
# All checks are on but these. A cell of a matrix against another, an id against the path's: more rules than a schema
# can hold. And one path is also that of a client called "batch", so more methods work than are documented there. A
# caller waits a second for a round, not a minute: `tests/test_fuzz.py` varies that, with a clock that skips waits. A
# stream of events has no end.
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413",
  "415", "422", "429", "503"]

[[operations]]
include-path = "/v1/clients/batch"
checks.allow_header_conformance.enabled = false

[[operations]]
include-path = "/v1/trainings/{training_id}/rounds"
parameters = { "header.Prefer" = "wait=1" }

[[operations]]
include-path = "/v1/events"
parameters = { "query.wait" = 0 }

[[operations]]
include-path = "/v1/events/stream"
enabled = false
"""
LIMITS = UNLIMITED | {"TCSFEEL_MAX_BODY_BYTES": "262144"}  # or a batch of 10 000 clients makes all others slow


@dataclass(frozen=True, slots=True)
class Course:
    """One run of schemathesis: who calls, with which seed, how many examples each operation gets, and what is tried."""

    role: str
    seed: int
    examples: int
    phases: str = "examples,coverage,fuzzing,stateful"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run. `problems` is empty if every answer was as documented."""

    cases: int
    problems: Sequence[str]


async def fuzz(course: Course, directory: Path, database: str | None) -> Outcome:
    """Run a server, and schemathesis against it."""
    await asyncio.to_thread(directory.mkdir, parents=True)
    async with (
        new_database(database, directory / "database") as url,
        server(directory, url, **LIMITS) as control,
        control.api() as api,
    ):
        body: dict[str, Any] = {"name": "fuzz", "role": course.role}
        body |= {"client_id": "edge-7"} if course.role == "agent" else {}  # the client of the document's examples
        key = (await call(api, "POST", "/v1/keys", json=body))["key"]
        status = await asyncio.to_thread(_run, course, control, key, directory)
        report = json.loads(await asyncio.to_thread((directory / "report.json").read_text))
    problems = [f"schemathesis ended with {status}: {directory / 'schemathesis.log'}"] if status else []
    return Outcome(_cases(report), problems + [f"log: {line}" for line in unhandled(control.log)])


def _run(course: Course, control: Server, key: str, directory: Path) -> int:
    configuration = directory / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    command = [
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(configuration),
            "run",
            f"{control.url}/openapi.json",
        ),
        *(
            "--header",
            f"Authorization: Bearer {key}",
            "--seed",
            str(course.seed),
            "--max-examples",
            str(course.examples),
        ),
        *("--phases", course.phases),
        *("--continue-on-failure", "--request-timeout", str(SECONDS), "--no-color", "--generation-database", "none"),
        *("--report", "json", "--report-json-path", str(directory / "report.json")),
    ]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.raw_bodies"}
    with (directory / "schemathesis.log").open("w") as log:
        return subprocess.run(command, check=False, stdout=log, stderr=log, env=environment).returncode  # noqa: S603  (our own arguments)


def _cases(report: Any) -> int:
    return int(report["test_cases"]["generated"])


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds each role has, from 1 on")
    parser.add_argument("--roles", default=",".join(ROLES), help="roles, with commas between them")
    parser.add_argument("--examples", type=int, default=20, help="of each operation, while it is fuzzed")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and reports, instead of a temporary one")
    given = parser.parse_args()
    kinds: list[Kind] = ["sqlite", "postgres"] if given.database == "both" else [given.database]
    courses = [Course(role, seed + 1, given.examples) for role in given.roles.split(",") for seed in range(given.seeds)]
    cases = found = 0
    with tempfile.TemporaryDirectory(prefix="tcsfeel-fuzz-") as temporary:
        for kind in kinds:
            with database_server(kind) as database:
                for course in courses:
                    directory = (given.keep or Path(temporary)) / f"{kind}-{course.role}-{course.seed}"
                    outcome = await fuzz(course, directory, database)
                    for problem in outcome.problems[:20]:
                        print(f"  {problem}")
                    print(f"{kind}, {course.role}, seed {course.seed}: {outcome.cases} cases", flush=True)
                    cases, found = cases + outcome.cases, found + len(outcome.problems)
    few = cases < LEAST_CASES
    print(f"fuzz: {cases} cases (bar {LEAST_CASES}), {found} problems; {'NOT OK' if few or found else 'ok'}")
    return int(few or found > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
