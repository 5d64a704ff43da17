"""The units for bare machines: systemd accepts them, and they leave the services few rights."""

import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.validators import ROOT, ran, tool

UNITS = ROOT / "deploy" / "systemd"
NAMES = pytest.mark.parametrize("name", ["tcsfeel.service", "tcsfeel-agent@.service"])
MOST_EXPOSED = 4.0  # of 10, as systemd-analyze measures it


def installed(name: str, directory: Path, text: str | None = None) -> Path:
    """A copy of a unit whose program exists, as systemd-analyze wants to see it."""
    program = directory / "tcsfeel"
    shutil.copy("/bin/true", program)
    instance = directory / name.replace("@.", "@edge-7.")
    text = text or (UNITS / name).read_text()
    instance.write_text(text.replace("/opt/tcsfeel/bin/tcsfeel", str(program)))
    return instance


@NAMES
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    found = ran(tool("systemd-analyze"), "verify", "--man=no", installed(name, tmp_path))
    assert (found.returncode, found.stdout) == (0, "")


def test_systemd_does_not_accept_a_bad_copy(tmp_path: Path) -> None:
    text = (UNITS / "tcsfeel.service").read_text().replace("ProtectSystem=strict", "ProtectSytem=strict")
    found = ran(tool("systemd-analyze"), "verify", "--man=no", installed("tcsfeel.service", tmp_path, text))
    assert "ProtectSytem" in found.stdout


@NAMES
def test_the_unit_leaves_the_service_few_rights(name: str, tmp_path: Path) -> None:
    unit = installed(name, tmp_path)
    said = ran(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", unit).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= MOST_EXPOSED


def test_the_server_has_time_to_end() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", (UNITS / "tcsfeel.service").read_text(), re.MULTILINE)
    assert int(seconds) > 2 * 10  # twice the default of TCSFEEL_COORDINATOR__DRAIN_SECONDS
