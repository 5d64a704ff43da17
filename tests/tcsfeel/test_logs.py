"""What an agent's log leaves out."""

import httpx2
import pytest

from tcsfeel import logs

pytestmark = pytest.mark.usefixtures("logging_as_before")


def test_requests_of_the_http_client_are_not_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TCSFEEL_LOG__LEVEL", "debug")
    logs.configure()
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200))) as http:
        http.get("http://plane.example/")
    with httpx2.Client(trust_env=False) as http, pytest.raises(httpx2.ConnectError):
        http.get("http://127.0.0.1:1/")
    assert capsys.readouterr().err == ""
