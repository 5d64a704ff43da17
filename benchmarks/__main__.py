"""Run one benchmark with its options, or all of them: ``python -m benchmarks [NAME] [OPTION…]``."""

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence

NAMES = (
    "aggregation",
    "byzantine",
    "carry",
    "enrolment",
    "exchanges",
    "heartbeats",
    "holds",
    "ledger",
    "memory",
    "pull",
    "relay",
    "responsiveness",
    "round",
    "scale",
    "selection",
    "signatures",
    "topology",
    "uploads",
)
USAGE = "usage: python -m benchmarks [--list] [NAME [OPTION…]]   (NAME --help tells the options)"


def benchmark(name: str) -> Callable[[Sequence[str]], int]:
    """Import only the benchmark that is asked for, since some of them take seconds to import."""
    run: Callable[[Sequence[str]], int] = importlib.import_module(f"benchmarks.{name}").main
    return run


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks and return the worst of their exit statuses."""
    match arguments:
        case []:
            return max(benchmark(name)([]) for name in NAMES)
        case ["--list"]:
            for name in NAMES:
                print(f"{name:16}{inspect.getdoc(benchmark(name))}")
            return 0
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
        case [name, *options] if name in NAMES:
            return benchmark(name)(options)
    print(f"{USAGE}\nNAME is one of {', '.join(NAMES)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
