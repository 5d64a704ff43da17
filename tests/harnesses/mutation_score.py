"""``make mutation``: count the changes to the rules of the code that their tests would not notice.

mutmut changes one thing at a time in the functions of `PARTS` and runs the tests that reach the function. Of these
changes, the mutants, at least 85 % must make a test fail in each part. Without patterns, everything is judged anew.
With patterns of mutants' names, only what they match.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

from tests import postgres

ENOUGH = 0.85
PARTS = (
    "app/domain", "app/store/leases.py", "sdk/tcsfeel/selection", "sdk/tcsfeel/network", "sdk/tcsfeel/aggregation",
)  # fmt: skip
WORK = Path("mutants")
KILLED = {"killed", "timeout"}
UNDECIDED = {"not checked", "check was interrupted by user"}


@dataclass(frozen=True)
class Mutant:
    name: str
    path: Path
    status: str

    @property
    def killed(self) -> bool:
        return self.status in KILLED

    def change(self) -> Iterator[str]:
        """Yield the lines that the mutant removes and those that it adds."""
        for line in get_diff_for_mutant(self.name, path=self.path).splitlines():
            if line.startswith(("+", "-")) and not line.startswith(("+++", "---")):
                yield line


def run(patterns: list[str], workers: int) -> None:
    """Let mutmut judge the mutants, with one Postgres for all of them."""
    if not patterns:
        shutil.rmtree(WORK, ignore_errors=True)
    with postgres.server() as url:
        environment = os.environ | {postgres.URL_VARIABLE: url, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        output = None if sys.stdout.isatty() else subprocess.PIPE  # on a terminal it draws its progress
        mutmut = (sys.executable, "-m", "tests.harnesses.decorated_mutants", "run", "--max-children", str(workers))
        done = subprocess.run([*mutmut, *patterns], check=False, env=environment, stdout=output, text=True)  # noqa: S603  (our own arguments)
    if done.returncode != 0:
        said = (done.stdout or "").strip().splitlines()[-1:]
        raise SystemExit(f"mutmut failed, perhaps because a test fails without a change: {' '.join(said)}")


def judged(patterns: list[str]) -> list[Mutant]:
    found = []
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if not patterns or any(fnmatch(name, pattern) for pattern in patterns):
                # A crash of a native library is noticed as well, and mutmut has no name for most of them.
                status = "killed" if (code or 0) < 0 else status_by_exit_code[code]
                found.append(Mutant(name, path, status))
    return found


def row(name: str, mutants: list[Mutant]) -> str:
    killed = sum(mutant.killed for mutant in mutants)
    return f"{name:42} {len(mutants):7} {killed:7} {len(mutants) - killed:8} {killed / len(mutants):7.1%}"


def report(mutants: list[Mutant]) -> bool:
    """Print the survivors and the score of each module, and tell whether enough mutants of each part were killed."""
    modules, parts = defaultdict(list), defaultdict(list)
    for mutant in mutants:
        modules[mutant.path].append(mutant)
        parts[next(part for part in PARTS if mutant.path.is_relative_to(part))].append(mutant)
        if not mutant.killed:
            print(f"\n{mutant.name}: {mutant.status}", *mutant.change(), sep="\n  ")
    print(f"\n{'':42} {'mutants':>7} {'killed':>7} {'survived':>8} {'score':>7}")
    for path, ones in modules.items():
        print(row(str(path), ones))
    print()
    for name, ones in parts.items():
        print(row(name, ones))
    return all(sum(one.killed for one in ones) >= ENOUGH * len(ones) for ones in parts.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutation", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="names of mutants, with wildcards: app.domain.rounds*")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="of the mutants judged before, without a run")
    given = parser.parse_args()
    if not given.report:
        run(given.patterns, given.workers)
    mutants = judged(given.patterns)
    undecided = [mutant.name for mutant in mutants if mutant.status in UNDECIDED]
    if not mutants or undecided:
        print(f"{len(undecided)} of {len(mutants)} mutants were not judged", file=sys.stderr)
        return 1
    if not report(mutants):
        print(f"less than {ENOUGH:.0%} of the mutants were noticed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
