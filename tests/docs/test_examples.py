"""Examples of pages run, and do what their pages say."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tcsfeel.contract.invitations import EnrolClient
from tcsfeel.identity import Identity, written
from tcsfeel.wire import codec
from tcsfeel.wire.enrolment import invitation_of, proof_text
from tests.docs.pages import ROOT, blocks, page, readme_walk
from tests.docs.shells import apart, shell
from tests.e2e.servers import free_port


@pytest.mark.parametrize("name", ["agents.md", "selection.md"])
def test_python_examples_run(name: str, run_page: Callable[[str], dict[str, Any]]) -> None:
    assert run_page(name)


def test_the_calls_of_the_rest_page_run_after_the_set_up_of_the_readme(tmp_path: Path) -> None:
    walk = readme_walk()
    (tmp_path / "my_trainer.py").write_text(blocks(walk, "python")[0])
    output = shell(
        "\n".join([*blocks(walk, "bash")[:2], *blocks(page("rest.md"), "bash")]),
        tmp_path,
        **apart(tmp_path),
    )
    assert 'federated_rounds_total{outcome="completed"} 2.0' in output
    assert codec.decode((tmp_path / "initial.safetensors").read_bytes())[0]["w"].shape == (64, 10)


def test_the_session_of_the_protocol_page_ends_as_it_says(tmp_path: Path) -> None:
    text = page("agent-protocol.md").split("\n## A session with curl\n")[1]
    session, expected = (blocks(text, kind) for kind in ("bash", ""))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    output = shell("\n".join(session), tmp_path, AGENT_PORT=str(free_port()))
    printed = next(block for block in expected if block.startswith("listening")).splitlines()
    assert [line for line in output.splitlines() if "PUT" not in line][1:] == [
        line for line in printed if "PUT" not in line
    ][1:]


def test_an_agent_pulls_with_curl_as_the_protocol_page_says(tmp_path: Path) -> None:
    text = page("agent-protocol.md").split("\n### A session of an agent that pulls\n")[1].split("\n## ")[0]
    ((session,), (expected,)) = (blocks(text, kind) for kind in ("bash", ""))
    output = shell(session, tmp_path, **apart(tmp_path))
    assert output.splitlines() == expected.splitlines()


def test_a_device_enrols_with_curl_and_openssl_as_the_protocol_page_says(tmp_path: Path) -> None:
    (enrolling,) = blocks(page("agent-protocol.md").split("\n### Enrolling\n")[1].split("\n### ")[0], "bash")
    start = """
        tcsfeel serve > log 2>&1 &
        until curl -fs "$TCSFEEL_SERVER/readyz" > /dev/null; do sleep 0.1; done
        invite=$(tcsfeel invitations create --ids 'edge-*' --expires 1h)
    """
    shell(f"{start}\n{enrolling}\ntcsfeel clients > clients", tmp_path, **apart(tmp_path))
    assert "edge-7" in (tmp_path / "clients").read_text()


def test_the_request_of_the_protocol_page_has_the_right_proof() -> None:
    (shown,) = [block for block in blocks(page("agent-protocol.md"), "") if "/v1/enrolments" in block]
    invitation = invitation_of(re.sub("_…", f"_{'ab' * 32}", re.findall(r"Bearer (\S+)", shown)[0]))
    body = json.loads("{" + shown.partition("{")[2].partition("{")[2])
    device = Identity(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    text = proof_text(invitation_id=invitation or "", client_id=body["client_id"], public_key=body["public_key"])
    assert (body["public_key"], body["proof"]) == (device.public_key, written(device.sign(text)))
    assert body == EnrolClient.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index]  # the schema may be a function
