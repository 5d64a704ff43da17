"""Print what both distributions of this repository declare that they need, for ``make lock``.

Run as ``declared.py EXTRA…``; the extras are those of the server, and every extra of the library comes with it.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = ("tcsfeel",)


def declared(extras: list[str]) -> list[str]:
    """List the requirements, sorted, each once, without those on our own distributions."""
    server = tomllib.loads((ROOT / "pyproject.toml").read_text())
    library = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())
    found = {*server["build-system"]["requires"], *library["build-system"]["requires"]}
    for project, wanted in ((server["project"], extras), (library["project"], None)):
        optional = project.get("optional-dependencies", {})
        found.update(project["dependencies"])
        for extra in optional if wanted is None else wanted:
            found.update(optional[extra])
    return sorted(line for line in found if not line.startswith(OURS))


if __name__ == "__main__":
    print("\n".join(declared(sys.argv[1:])))
