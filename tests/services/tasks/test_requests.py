"""The heads of requests, and the URLs of agents."""

import pytest

from app.services.tasks.requests import Request, address_of


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://agent", ("http", "agent", 80, "agent", "")),
        ("http://agent/", ("http", "agent", 80, "agent", "")),
        ("https://Agent.example:8443/base/", ("https", "agent.example", 8443, "agent.example:8443", "/base")),
        ("https://a/agents/edge-7", ("https", "a", 443, "a", "/agents/edge-7")),
        ("http://[::1]:80/x", ("http", "::1", 80, "[::1]", "/x")),
        ("http://user:secret@a/x", ("http", "a", 80, "a", "/x")),
        ("http://a/b c", ("http", "a", 80, "a", "/b%20c")),
    ],
)
def test_the_url_of_an_agent_says_where_it_is(url: str, address: tuple[str, str, int, str, str]) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize("url", ["", "agent", "ftp://agent", "http://", "http://a\\b", "http://[v1.x]", "http://a:x"])
def test_a_url_that_cannot_be_called_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        address_of(url)


def test_the_head_of_a_request_has_the_host_first() -> None:
    request = Request("GET", "http://agent:81/base/", "/tasks/t?wait=20", {"Accept": "*/*", "X": "y"})
    assert request.target == "/base/tasks/t?wait=20"
    assert request.head() == b"GET /base/tasks/t?wait=20 HTTP/1.1\r\nHost: agent:81\r\nAccept: */*\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\x00", "\x7f", "é"])
def test_a_header_that_would_not_arrive_as_one_is_not_sent(value: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        Request("GET", "http://agent", "/x", {"Authorization": value}).head()
