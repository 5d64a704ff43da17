"""The static checks for security report the faults that they are for, wherever the code is.

Most of them are rules of ruff, which has those of bandit. A setting, or an exception for a directory, could switch one
off without a sound, so a fault of each kind is shown to the linter as if it were in each part of the code.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("app/x.py", "app/demo/x.py", "sdk/tcsfeel/contract/x.py", "scripts/x.py")
FAULTS = {
    "S102": "exec(text)",
    "S103": "os.chmod(text, 0o777)",
    "S104": 'socket.socket().bind(("0.0.0.0", 80))',
    "S105": 'password = "hunter2-and-more"',
    "S108": 'open("/tmp/file")',
    "S110": "try:\n    run()\nexcept Exception:\n    pass",
    "S113": 'requests.get("https://host")',
    "S301": "pickle.loads(text)",
    "S307": "eval(text)",
    "S311": "random.choice(text)",
    "S314": "xml.etree.ElementTree.fromstring(text)",
    "S324": "hashlib.md5(text)",
    "S501": 'httpx.get("https://host", verify=False)',
    "S506": "yaml.load(text)",
    "S602": "subprocess.run(text, shell=True)",
    "S605": "os.system(text)",
    "S607": 'subprocess.run(["ls"])',
    "S608": 'connection.execute(f"SELECT * FROM clients WHERE id = {text}")',
    "S701": "jinja2.Environment()",
}
IMPORTS = (
    "import hashlib, httpx, jinja2, os, pickle, random, requests, socket, subprocess, xml.etree.ElementTree, yaml\n"
)


def reported(place: str, source: str) -> set[str]:
    """The codes that the linter reports of a file, with the settings of the project."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--output-format",
        "json",
        "--stdin-filename",
        place,
        "-",
    ]
    shown = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False)  # noqa: S603  (our own)
    return {found["code"] for found in json.loads(shown.stdout)}


@pytest.mark.parametrize("place", PLACES)
def test_each_planted_fault_is_reported(place: str) -> None:
    codes = reported(place, IMPORTS + "\n".join(FAULTS.values()))
    assert FAULTS.keys() - codes == set()


def test_a_suppression_without_a_code_suppresses_nothing_silently() -> None:
    codes = reported("app/x.py", "import os\nos.system(text)  # noqa\n")
    assert "PGH004" in codes


CLIENTS = {"Client", "AsyncClient"}


def calls(text: str) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))


def careless(text: str) -> list[str]:
    """The calls of httpx2 that leave the proxy to the environment, or that do not check certificates.

    A client that does not say `trust_env` sends its key to whatever proxy the environment names. ruff knows httpx, and
    not httpx2.
    """
    found = []
    for call in calls(text):
        if not (isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)):
            continue
        if call.func.value.id != "httpx2":
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        verify = given.get("verify")
        unchecked = isinstance(verify, ast.Constant) and verify.value is False
        unsaid = call.func.attr in CLIENTS and "trust_env" not in given
        if unchecked or unsaid or call.func.attr in {"get", "post", "put", "patch", "delete", "request", "stream"}:
            found.append(f"line {call.lineno}: httpx2.{call.func.attr}")
    return found


def sources() -> list[Path]:
    found = [path for top in ("app", "sdk/tcsfeel") for path in (ROOT / top).rglob("*.py")]
    assert found
    return found


def test_each_http_client_says_whether_it_trusts_the_environment_and_checks_certificates() -> None:
    assert {str(path.relative_to(ROOT)): lines for path in sources() if (lines := careless(path.read_text()))} == {}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("httpx2.Client(trust_env=False)", 0),
        ("httpx2.Client(trust_env=False, verify=context)", 0),
        ("httpx2.MockTransport(handle)", 0),
        ("httpx2.Client()", 1),
        ("httpx2.AsyncClient(verify=False, trust_env=False)", 1),
        ("httpx2.HTTPTransport(verify=False)", 1),
        ("httpx2.get(url)", 1),
    ],
)
def test_what_counts_as_careless(text: str, faults: int) -> None:
    assert len(careless(text)) == faults


def test_the_image_does_not_run_as_root_and_installs_only_what_the_lock_names() -> None:
    lines = [line.strip() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    user = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert user
    assert user[-1].split(":")[0] not in {"0", "root"}
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
