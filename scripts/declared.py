"""Print what both distributions of this repository declare that they need, for ``make lock``.

Run as ``declared.py EXTRA…``; the extras are those of the server, which names the extras of the library that it needs.
With ``--device`` in front, only the library counts, and the extras are its own: what the image of an agent installs.
With ``--lowest`` in front, each is pinned to the lowest version that its declaration admits, and the tools follow that
the tests of the store and the services need.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = ("tcsfeel",)
OF_THE_LIBRARY = re.compile(r"tcsfeel\[([a-z0-9,]+)\]")
TOOLS = ("flask", "flask-cors", "hypothesis", "moto[s3]", "pytest", "pytest-asyncio", "pytest-xdist")


def declared(extras: list[str]) -> list[str]:
    """List the requirements, sorted, each once, without those on our own distributions."""
    server = tomllib.loads((ROOT / "pyproject.toml").read_text())
    library = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())
    found = {*server["build-system"]["requires"], *library["build-system"]["requires"]}
    named = [match[1] for line in server["project"]["dependencies"] if (match := OF_THE_LIBRARY.fullmatch(line))]
    for project, wanted in ((server["project"], extras), (library["project"], named[0].split(","))):
        found.update(project["dependencies"])
        for extra in wanted:
            found.update(project["optional-dependencies"][extra])
    return sorted(line for line in found if not line.startswith(OURS))


def of_the_library(extras: list[str]) -> list[str]:
    """List what the library needs with some of its extras, and what builds it."""
    library = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())
    found = {*library["build-system"]["requires"], *library["project"]["dependencies"]}
    for extra in extras:
        found.update(library["project"]["optional-dependencies"][extra])
    return sorted(found)


def lowest(extras: list[str]) -> list[str]:
    """Pin each requirement to its lowest version. One that both distributions declare has the same in both."""
    return [line.replace(">=", "==", 1) for line in declared(extras)] + list(TOOLS)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--lowest", *extras]:
            print("\n".join(lowest(extras)))
        case ["--device", *extras]:
            print("\n".join(of_the_library(extras)))
        case extras:
            print("\n".join(declared(extras)))
