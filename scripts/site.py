"""Build the documentation site from the pages of the repository.

``make site`` runs it. The pages are written for readers on GitHub: they lie in several directories, and link to files
of the code. So the pages are laid out first, with their links changed, and then Sphinx builds them. A link that leads
nowhere, and a page that is missing in `NAVIGATION`, fail the build.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tcsfeel.cli import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINKED = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(@\)")  # a link whose target has no page and is no file

# Where pages outside of docs/ are in the site.
OTHERS = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "docs/README.md": "index.md",
    "docs/site/python.rst": "python.rst",
}
NAVIGATION = {
    "Start": "tutorial from-flower comparison",
    "How to": "howto/README howto/register howto/enrol howto/nat howto/links howto/trainers howto/strategy howto/tune "
    "howto/track deployment troubleshooting runbooks",
    "Reference": "rest cli settings metrics operations dashboard events agent-protocol python client agents grpc "
    "webhooks",
    "Explanations": "selection rounds security privacy architecture resilience",
    "Project": "readme changelog contributing reporting decisions benchmarks benchmarks-selection "
    "benchmarks-data-plane mutation dependencies",
}


def pages() -> dict[Path, Path]:
    """Return where each page of the repository is in the site, relative to its root."""
    own = {page: page.relative_to(DOCS) for page in DOCS.rglob("*.md")}
    return own | {ROOT / page: Path(place) for page, place in OTHERS.items()}


def laid_out(page: Path, places: dict[Path, Path], source: Path, *, text: str) -> str:
    """Return the text of a page with links that lead to the pages and files of the site."""

    def moved(match: re.Match[str]) -> str:
        file, _, anchor = match[1].partition("#")
        if "://" in file or not file:
            return match[1]
        target = (page.parent / file).resolve()
        if target == DOCS / "adr":
            place = Path("decisions.md")
        elif target in places:
            place = places[target]
        elif target.is_file():
            place = Path("files") / target.relative_to(ROOT)
            (source / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, source / place)
        elif target.is_dir():
            return "@"
        else:
            raise SystemExit(f"{page.relative_to(ROOT)} links to {match[1]}, which does not exist")
        link = Path(os.path.relpath(place, places[page].parent)).as_posix()
        return f"{link}#{anchor}" if anchor else link

    changed, end = "", 0
    for fence in [*FENCE.finditer(text), None]:
        start = fence.start() if fence else len(text)
        changed += LINKED.sub(r"\1", LINK.sub(moved, text[end:start]))
        changed += fence[0] if fence else ""
        end = fence.end() if fence else start
    return changed


def toctree(title: str, entries: str) -> str:
    """Return a part of the navigation."""
    return f"\n```{{toctree}}\n:caption: {title}\n:hidden:\n:titlesonly:\n\n" + "\n".join(entries.split()) + "\n```\n"


def decisions() -> Iterator[str]:
    """Yield the page that lists the decisions, line by line."""
    yield "# Decisions\n\nWhy it is built as it is. Each decision has its context and its consequences.\n"
    yield "```{toctree}\n:maxdepth: 1\n:titlesonly:\n"
    yield from (f"adr/{page.stem}" for page in sorted((DOCS / "adr").glob("*.md")))
    yield "```\n"


ONLY_HERE = """
## Made from the code

- [Every command with its options](cli.md)
- [The Python interface](python.rst)
"""
COMMANDS = """# The command line

Every command with its options, as `--help` prints them. [Running it](operations.md#the-command-line) has a table of all
commands, says how they find the server and the key, and lists the statuses with which they exit.
"""


def commands(command: click.Command, name: str = "tcsfeel", parent: click.Context | None = None) -> Iterator[str]:
    """Yield the page that describes a command and all commands below it."""
    context = click.Context(command, parent, info_name=name, max_content_width=100, terminal_width=100)
    yield f"\n## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found and not found.hidden:
                yield from commands(found, below, context)


def lay_out(source: Path) -> None:
    """Write everything that Sphinx reads into an empty directory."""
    shutil.rmtree(source, ignore_errors=True)
    places = pages()
    for page, place in places.items():
        (source / place).parent.mkdir(parents=True, exist_ok=True)
        text = page.read_text()
        (source / place).write_text(laid_out(page, places, source, text=text) if page.suffix == ".md" else text)
    (source / "cli.md").write_text(COMMANDS + "".join(commands(cli)))
    (source / "decisions.md").write_text("\n".join(decisions()))
    with (source / "index.md").open("a") as index:
        index.write(ONLY_HERE)
        index.writelines(toctree(title, entries) for title, entries in NAVIGATION.items())
    shutil.copyfile(DOCS / "site" / "conf.py", source / "conf.py")
    (source / "static").mkdir()
    shutil.copyfile(DOCS / "site" / "site.css", source / "static" / "site.css")


def sphinx(source: Path, site: Path, python: str = sys.executable) -> int:
    """Build a site from what was laid out, and return the status: anything but 0 if a link leads nowhere."""
    shutil.rmtree(site, ignore_errors=True)
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto", "-b", "html", "-d", f"{source}-cache"]
    ended = subprocess.run([python, "-m", "sphinx", *options, source, site], check=False)  # noqa: S603  (our own pages)
    shutil.rmtree(f"{source}-cache", ignore_errors=True)
    return ended.returncode


def main() -> None:
    """Build the site into the directory that is named, or into build/site."""
    site = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()
    if site.exists() and any(site.iterdir()) and not (site / "objects.inv").exists():
        sys.exit(f"{site} has files, and is no site that was built before: name a new directory")
    source = site.parent / f"{site.name}-pages"
    lay_out(source)
    sys.exit(sphinx(source, site))


if __name__ == "__main__":
    main()
