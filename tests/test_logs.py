"""Log lines, as operators get them."""

import json
import logging
from typing import Any, Literal

import httpx2
import pytest
import structlog

from app import logs
from app.settings import LogSettings

EVIL = "a\x1b[2J\r\n2026-01-01 [info     ] all is well\u202e\0\ud800"
Format = Literal["console", "json"]


pytestmark = pytest.mark.usefixtures("logging_as_before")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.removesuffix("\n").split("\n")


def raise_evil(**_: Any) -> None:
    raise ValueError(EVIL)


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_text_from_outside_forges_a_line_or_moves_the_cursor(
    form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSettings(format=form))
    structlog.get_logger("test").warning("one " + EVIL, reason=EVIL, ids=[EVIL])
    logging.getLogger("test.foreign").warning("two %s", EVIL)
    found = lines(capsys)
    assert len(found) == 2
    assert all(line.isprintable() for line in found)
    assert "one a\\x1b[2J\\r\\n2026" in found[0].replace("\\\\", "\\")


@pytest.mark.parametrize("form", ["console", "json"])
def test_the_message_of_an_exception_forges_none_either(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format=form))
    for name, log in (("ours", structlog.get_logger("test")), ("foreign", logging.getLogger("test.foreign"))):
        try:
            raise_evil(token="s3" + "cret")
        except ValueError:
            log.exception("failed %s", name)
    found = lines(capsys)
    assert all(line.isprintable() for line in found)
    assert "s3cret" not in "".join(found), "no values of variables"
    if form == "json":
        assert ["Traceback" in json.loads(line)["exception"] for line in found] == [True, True]
    else:
        starts = [line for line in found if not line.startswith("  ")]
        assert [("failed ours" in line, "failed foreign" in line) for line in starts] == [(True, False), (False, True)]


def test_a_long_value_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"))
    structlog.get_logger("test").warning("long", reason="x" * 1_000_000)
    assert len(lines(capsys)[0]) < 5_000


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_line_of_uvicorn_is_written_once_and_without_colours(
    form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uvicorn gives its message a second time, in colours for a terminal, as a further value of the line."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # as a server in this process may have left it
    logs.configure(LogSettings(format=form))
    coloured = "Started server process [\x1b[36m%d\x1b[0m]"
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7, extra={"color_message": coloured})
    (line,) = lines(capsys)
    assert "Started server process [7]" in line
    assert line.count("Started") == 1
    assert "color_message" not in line


def test_requests_of_the_http_client_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="debug"))
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200))) as http:
        http.get("http://plane.example/")
    with httpx2.Client(trust_env=False) as http, pytest.raises(httpx2.ConnectError):
        http.get("http://127.0.0.1:1/")
    assert lines(capsys) == [""]
