"""``python -m benchmarks [NAME] [OPTION…]``: run one benchmark with its options, or all of them without."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks import (
    aggregation,
    memory,
    responsiveness,
    round,  # noqa: A004  (a noun of the domain)
    scale,
    selection,
    topology,
    uploads,
)

BENCHMARKS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "aggregation": aggregation.main,
    "memory": memory.main,
    "responsiveness": responsiveness.main,
    "round": round.main,
    "scale": scale.main,
    "selection": selection.main,
    "topology": topology.main,
    "uploads": uploads.main,
}
USAGE = "usage: python -m benchmarks [--list] [NAME [OPTION…]]   (NAME --help tells the options)"


def main(arguments: Sequence[str]) -> int:
    """The exit status: of all benchmarks the worst."""
    match arguments:
        case []:
            return max(run([]) for run in BENCHMARKS.values())
        case ["--list"]:
            for name, run in BENCHMARKS.items():
                print(f"{name:16}{inspect.getdoc(run)}")
            return 0
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
        case [name, *options] if name in BENCHMARKS:
            return BENCHMARKS[name](options)
    print(f"{USAGE}\nNAME is one of {', '.join(BENCHMARKS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
