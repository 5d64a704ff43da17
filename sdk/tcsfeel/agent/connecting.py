"""Connect an agent to its control plane, and decide how the control plane reaches it."""

import contextlib
import ipaddress
import ssl
from pathlib import Path

import httpx2

from tcsfeel.agent.errors import AgentError
from tcsfeel.certificates import UnusableCertificate, to_callers, trusted
from tcsfeel.rest.deadlines import limits
from tcsfeel.rest.transport import headers, no_cookies

CONNECTIONS = 100  # that httpx2 opens by default


def connected(
    server_url: str, api_key: str | None, ca_file: Path | None = None, *, waiting: int = 0
) -> httpx2.AsyncClient:
    """Make an HTTP client for the control plane at a URL, which sends the key. Raises `AgentError`.

    The server's certificate is checked with the authorities in `ca_file`, or with those of the system. `waiting` calls
    may wait for their answers, each of which keeps a connection to itself.
    """
    server = _control_plane(server_url)
    return httpx2.AsyncClient(
        base_url=server,
        headers=headers(api_key),
        cookies=no_cookies(),
        limits=limits(CONNECTIONS + waiting),
        verify=trusted(ca_file),
        # a proxy from the environment is for addresses outside, and would turn "not up yet" into a 502
        trust_env=not is_loopback(server.host),
    )


def _control_plane(server_url: str) -> httpx2.URL:
    with contextlib.suppress(httpx2.InvalidURL):
        url = httpx2.URL(server_url)
        if url.scheme in {"http", "https"} and url.host:
            return url
    raise AgentError(f"the control plane's URL must be like http://host:8080, not {server_url!r}")


def is_on_this_machine(server_url: str) -> bool:
    """Tell whether the control plane at a URL is on this machine, where it can call agents. Raises `AgentError`."""
    return is_loopback(_control_plane(server_url).host)


def is_loopback(host: str) -> bool:
    """Tell whether a host can be reached only from its own machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secured(tls_cert: Path | None, tls_key: Path | None) -> ssl.SSLContext | None:
    """Make the context to serve HTTPS with a certificate and its key; None serves plain HTTP. Raises `AgentError`."""
    if tls_cert is None and tls_key is None:
        return None
    if tls_cert is None or tls_key is None:
        raise AgentError("the certificate of the agent and its private key must be given together")
    try:
        return to_callers(tls_cert, tls_key)
    except UnusableCertificate as error:
        raise AgentError(f"the agent cannot serve HTTPS: {error}") from None
