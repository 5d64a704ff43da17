"""`tcsfeel audit`: records as JSON lines, and whether they are an unbroken chain."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tcsfeel.audit import GENESIS, digest
from tcsfeel.cli import cli
from tests.tcsfeel.cli.test_answers import FORGED, run


def chained(count: int, *, first: int = 1, previous: str = GENESIS) -> list[dict[str, Any]]:
    records = []
    for sequence in range(first, first + count):
        record = {"sequence": sequence, "actor": "ä", "role": None, "previous": previous}
        previous = digest(record)
        records.append(record | {"hash": previous})
    return records


def page(items: list[Any], cursor: str | None = None) -> dict[str, Any]:
    return {"items": items, "next_cursor": cursor}


def verify(tmp_path: Path, records: list[Any], *options: str) -> Result:
    file = tmp_path / "audit.jsonl"
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return CliRunner().invoke(cli, ["audit", "verify", str(file), *options])


def test_an_export_is_verified(tmp_path: Path) -> None:
    records = chained(5)
    exported = run(["audit", "export"], page(records[:3], "next"), page(records[3:]))
    assert (exported.exit_code, [json.loads(line) for line in exported.stdout.splitlines()]) == (0, records)
    file = tmp_path / "exported.jsonl"
    file.write_text(exported.stdout)
    result = CliRunner().invoke(cli, ["audit", "verify", str(file)])
    assert (result.exit_code, result.output.splitlines()) == (
        0,
        ["5 records, 1 to 5, form an unbroken chain", f"head: {records[-1]['hash']}"],
    )


def test_a_server_is_verified_page_by_page() -> None:
    records = chained(4)
    assert run(["audit", "verify"], page(records[:2], "next"), page(records[2:])).exit_code == 0
    broken = run(["audit", "verify"], page(records[:2], "next"), page(records[3:]))
    assert (broken.exit_code, broken.output) == (
        1,
        "tcsfeel: the chain is broken at record 4: it comes after record 2\n",
    )


def test_a_changed_record_is_named(tmp_path: Path) -> None:
    records = chained(3)
    records[1]["actor"] = "nobody"
    result = verify(tmp_path, records)
    assert result.exit_code == 1
    assert result.output.startswith("tcsfeel: the chain is broken at record 2: its content has the hash ")


def test_a_trail_whose_old_records_are_gone_names_its_anchor(tmp_path: Path) -> None:
    result = verify(tmp_path, chained(2, first=8, previous="f" * 64))
    assert result.exit_code == 0
    assert result.output.splitlines()[0].endswith(f"; they follow record 7, whose hash is {'f' * 64}")


def test_a_head_that_was_kept_has_to_be_there(tmp_path: Path) -> None:
    records = chained(3)
    assert verify(tmp_path, records, "--head", records[1]["hash"]).exit_code == 0
    cut = verify(tmp_path, records[:2], "--head", records[2]["hash"])
    assert (cut.exit_code, cut.output.split(":")[1]) == (1, f" no record has the hash {records[2]['hash']}")
    assert verify(tmp_path, [], "--head", records[2]["hash"]).exit_code == 1
    wrong = verify(tmp_path, records, "--head", "abc")
    assert (wrong.exit_code, wrong.output[:15]) == (1, "tcsfeel: --head")


def test_a_file_without_records_verifies_nothing_and_a_server_without_records_says_so(tmp_path: Path) -> None:
    result = verify(tmp_path, [])
    why = "the file has no records, so nothing was verified: is it the output of `tcsfeel audit export`?"
    assert (result.exit_code, result.output) == (1, f"tcsfeel: {why}\n")
    server = run(["audit", "verify"], page([]))
    assert (server.exit_code, server.output) == (0, "there are no records\n")


def test_the_hash_of_the_head_is_printed_alone() -> None:
    found = {"sequence": 1042, "hash": "5f" * 32, "at": "2026-11-30T00:00:00Z"}
    result = run(["audit", "head"], found)
    assert (result.exit_code, result.stdout) == (0, f"{found['hash']}\n")
    assert result.stderr == "The newest record is 1042 of 2026-11-30T00:00:00Z. Its hash:\n"
    assert json.loads(run(["audit", "head", "--json"], found).stdout) == found
    empty = run(["audit", "head"], found | {"sequence": 0, "at": None})
    assert empty.stderr == "The newest record is 0. Its hash:\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{\n", "line 1 is not JSON"),
        (b"\xff\n", "line 1 is not JSON"),
        (b"[" * 60_000, "line 1 is not JSON"),
        (b" " * 70_000, "line 1 is longer than 65536 bytes, so it is no audit record"),
        (b"9" * 5000, "line 1 is not JSON"),
        (b"7\n", "the chain is broken at a record without a number: it is no object with a number as `sequence`"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(content)
    result = CliRunner().invoke(cli, ["audit", "verify", str(file)])
    assert (result.exit_code, result.output) == (1, f"tcsfeel: {reason}\n")


def test_text_of_a_record_steers_no_terminal(tmp_path: Path) -> None:
    exported = run(["audit", "export"], page([{"sequence": 1, "actor": FORGED}]))
    verified = verify(tmp_path, [{"sequence": 7, "actor": 1.5, "previous": FORGED, "hash": FORGED}])
    anchored = {"sequence": 7, "previous": FORGED.replace("\ud800", "")}
    whole = verify(tmp_path, [anchored | {"hash": digest(anchored)}])
    for result in (exported, verified, whole):
        assert result.output.strip("\n").replace("\n", "").isprintable(), result.output
    assert whole.exit_code == 0


def test_filters_are_sent_and_times_are_checked() -> None:
    given = ["--actor", "anna", "--result", "refused", "--since", "2026-11-01T00:00:00Z"]
    assert run(["audit", "export", *given], page([])).exit_code == 0
    for wrong in ("yesterday", "2026-11-01T00:00:00"):
        result = run(["audit", "export", "--until", wrong])
        assert (result.exit_code, result.output[:23]) == (1, "tcsfeel: --until should")
