"""The promises of the house that no tool checks."""

import ast
import re
import shutil
import subprocess
import tokenize
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
SOURCES = ("app", "sdk/tcsfeel", "migrations", "tests", "examples", "benchmarks", "scripts")
LONG = 300  # lines of a module
PIN = re.compile(
    r"^(?P<name>[a-z0-9.-]+)(?:\[(?P<extras>[a-z0-9,-]+)\])?==(?P<version>\S+)(?: ; (?P<marker>.+))? \\$", re.MULTILINE
)
SUPPRESSION = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma:\s*no (?:cover|branch))\b.*")
GIVEN = re.compile(
    r"#\s*(?:noqa: (?P<rule>[A-Z]+\d+)(?:, [A-Z]+\d+)*|type: ignore\[(?P<error>[a-z-]+)[a-z, -]*\]|pragma: no \w+)"
    r"(?P<reason>\s+(?:#|\().{3,})?"
)


def pins(lock: str) -> dict[str, str]:
    return {match["name"]: match["version"] for match in PIN.finditer((ROOT / lock).read_text())}


def installed(lock: str) -> list[re.Match[str]]:
    """The pins that this Python needs."""
    found = PIN.finditer((ROOT / lock).read_text())
    return [match for match in found if match["marker"] is None or Marker(match["marker"]).evaluate()]


def normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]).lower()


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## \S", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_make_without_a_target_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S607  (make is looked up like a user's)
    assert {"demo", "test", "check"} <= targets()
    assert targets() == set(re.findall(r"^  ([a-z-]+) ", shown, re.MULTILINE))


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md"])
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    named = set(re.findall(r"(?:`|^|\$ )make (?:[A-Z]+=\S+ )*([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE))
    assert named
    assert named <= targets()


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_packages_versions_and_hashes_and_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    options = {line for line in text.splitlines() if line.startswith("-")}
    assert not options
    entries = [entry for entry in re.split(r"\n(?=[A-Za-z0-9])", text) if not entry.startswith("#")]
    assert len(entries) == len(pins(lock))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_development_lock_holds_what_the_runtime_lock_holds() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def wanted_with_extras(package: str) -> list[Requirement]:
    requirements = [Requirement(line) for line in metadata.requires(package) or []]
    return [one for one in requirements if one.extras and (one.marker is None or one.marker.evaluate({"extra": ""}))]


@pytest.mark.parametrize("lock", LOCKS)
def test_pins_name_the_extras_that_another_package_asks_for(lock: str) -> None:
    """Pip refuses ``name[extra]`` next to a pin without the extra as soon as a newer version than the pin is out."""
    extras = {match["name"]: set((match["extras"] or "").split(",")) for match in installed(lock)}
    asked = [one for package in extras for one in wanted_with_extras(package)]
    for one in asked:
        assert one.extras <= extras[normal(one.name)], one
    assert "asyncio" in extras["sqlalchemy"]


@pytest.mark.parametrize("python", ["3.12", "3.13", "3.14"])
@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_what_their_packages_need_with_another_python(lock: str, python: str) -> None:
    """A lock is made with one version of Python, and pip refuses what a package needs beyond it with another one."""
    pinned = pins(lock)
    for match in installed(lock):
        for extra in ("", *(match["extras"] or "").split(",")):
            environment = {"python_version": python, "python_full_version": f"{python}.1", "extra": extra}
            needed = [Requirement(line) for line in metadata.requires(match["name"]) or []]
            names = {normal(one.name) for one in needed if one.marker is None or one.marker.evaluate(environment)}
            assert names <= pinned.keys(), match["name"]


def test_locks_hold_every_dependency_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    library = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())["project"]
    runtime, extras = project["dependencies"], project["optional-dependencies"]
    runtime = [name for name in runtime if normal(name) != "tcsfeel"] + library["dependencies"]
    wanted = next(Requirement(line).extras for line in project["dependencies"] if normal(line) == "tcsfeel")
    optional = library["optional-dependencies"]
    runtime += [name for extra in wanted for name in optional[extra]]
    assert {normal(name) for name in runtime + extras["demo"]} <= pins("requirements.lock").keys()
    development = extras["dev"] + [name for lines in optional.values() for name in lines]
    assert {normal(name) for name in development} <= pins("requirements-dev.lock").keys()


def test_the_lowest_versions_that_are_declared_are_those_that_make_lowest_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    library = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["demo"], *library["dependencies"]]
    (own,) = (one for one in map(Requirement, project["dependencies"]) if one.name == "tcsfeel")
    lines += [line for extra in own.extras for line in library["optional-dependencies"][extra]]
    pinned = pins("requirements-lowest.lock")
    for requirement in map(Requirement, lines):
        name = normal(requirement.name)
        if name != "tcsfeel":
            (bound,) = requirement.specifier
            assert bound.operator == ">="
            assert Version(pinned[name]) == Version(bound.version), name


def test_decisions_are_numbered_and_say_context_decision_and_consequences() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record in records:
        text = record.read_text()
        assert text.startswith(f"# {record.name[:4]}. ")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_the_server_installs_every_package_of_its_own() -> None:
    """They are listed by hand, since the migrations are installed under another name than they have here."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    here = {path.parent for top in ("app", "migrations") for path in (ROOT / top).rglob("*.py")}
    names = [".".join(path.relative_to(ROOT).parts) for path in here]
    assert sorted(listed) == sorted(name if name.startswith("app") else f"app.{name}" for name in names)


def modules() -> list[Path]:
    found = [path for source in SOURCES for path in (ROOT / source).rglob("*.py")]
    assert found
    return found


def too_long(path: Path) -> bool:
    """Whether a module is long and no sentence of its docstring says why: it would begin with "Long because"."""
    text = path.read_text()
    reason = re.search(r"(?:^|\s)Long because \S", ast.get_docstring(ast.parse(text)) or "")
    return len(text.splitlines()) > LONG and reason is None


def test_no_module_is_long_without_a_reason() -> None:
    assert [str(path.relative_to(ROOT)) for path in modules() if too_long(path)] == []


@pytest.mark.parametrize(
    ("docstring", "lines", "long"),
    [
        ("One noun.", 300, False),
        ("One noun.", 301, True),
        ("One noun.\n\nLong because its table is.", 301, False),
        ("It is long because.", 301, True),
    ],
)
def test_what_counts_as_long(docstring: str, lines: int, long: bool, tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    head = f'"""{docstring}"""\n'
    source.write_text(head + "x = 1\n" * (lines - head.count("\n")))
    assert too_long(source) == long


def unexplained(path: Path) -> list[str]:
    """Suppressions in a file that lack a code, or a reason: the reason may stand at the first of its kind."""
    explained: set[str] = set()
    found = []
    with tokenize.open(path) as file:
        comments = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
    for comment in comments:
        if (suppression := SUPPRESSION.search(comment.string)) is None:
            continue
        given = GIVEN.match(suppression[0])
        kind = given and (given["rule"] or given["error"] or "pragma")
        if given and given["reason"]:
            explained.add(str(kind))
        if kind not in explained:
            found.append(f"{path}:{comment.start[0]}: {comment.string}")
    return found


def test_every_suppressed_warning_has_a_code_and_a_reason() -> None:
    assert [line for path in modules() for line in unexplained(path)] == []


@pytest.mark.parametrize(
    ("comment", "accepted"),
    [
        ("# noqa", False),
        ("# type: ignore", False),
        ("# noqa: S603", False),
        ("# noqa: S603  (our own arguments)", True),
        ("# noqa: BLE001, S110  (it is logged by the caller)", True),
        ("# type: ignore[arg-type]", False),
        ("# type: ignore[arg-type]  # the stub is wrong", True),
    ],
)
def test_what_counts_as_a_reason(comment: str, accepted: bool, tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(f"x = 1  {comment}\n")
    assert (unexplained(source) == []) == accepted


def test_the_core_that_is_marked_is_the_core_whose_coverage_is_measured(request: pytest.FixtureRequest) -> None:
    """A test outside of the folders that `make coverage` names would be marked, and run nowhere."""
    named = re.search(r"^CORE_TESTS = (.*) \$\(addprefix (\S+),(.*)\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    measured = {*named[1].split(), *(f"{named[2]}{room}" for room in named[3].split())}
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert conftest is not None
    assert {str(room.relative_to(ROOT)) for room in conftest.CORE} == measured
