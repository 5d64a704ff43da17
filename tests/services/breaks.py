"""The ways in which a call of an agent breaks, and what is said of each."""

import httpx2

BREAKS: list[tuple[Exception, str]] = [
    (httpx2.ConnectError("no"), "the agent could not be reached"),
    (httpx2.ConnectTimeout("no"), "the agent did not answer in time"),
    (TimeoutError(), "the agent did not answer in time"),
    (httpx2.RemoteProtocolError("no"), "the agent did not answer in HTTP"),
    (ConnectionResetError(), "the connection was lost (ConnectionResetError)"),
    (httpx2.InvalidURL("no"), "its URL cannot be called"),
]
