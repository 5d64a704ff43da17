"""Refuse calls that a web page makes a browser send, where a server asks for no key or a cookie stands for it.

A browser on the server's machine can reach the server, and may show pages of anybody. A page of another site is given
away by the headers `Origin` and `Sec-Fetch-Site`, which a page cannot change. A page whose host name was made to lead
to this machine (DNS rebinding) is given away by the header `Host`.
"""

from urllib.parse import urlsplit

from fastapi import Request

from app.settings import is_loopback
from tcsfeel.errors import Picklable
from tcsfeel.text import plain

_OWN_PAGES = {"same-origin", "none"}  # a page of this server, or an address that a person typed
_LONGEST = 100


class ForeignPage(Picklable):
    """The call seems to come from a web page that this server did not send."""

    def __init__(self, header: str, value: str) -> None:
        super().__init__(
            f"the header `{header}` is {plain(value, _LONGEST)!r}, but a server without keys answers only programs of "
            "its own machine and its own pages: call it by a loopback address such as http://127.0.0.1:8080, or set "
            "TCSFEEL_AUTH__ENABLED to true"
        )


def refuse_foreign_pages(request: Request) -> None:
    """Raise `ForeignPage` if a browser may have sent the request for a page of another site."""
    host = request.headers.get("host", "")
    if not _names_this_machine(host):
        raise ForeignPage("Host", host)
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise ForeignPage("Origin", origin)
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in _OWN_PAGES:
        raise ForeignPage("Sec-Fetch-Site", site)


def comes_from_own_page(request: Request) -> bool:
    """Tell whether a call with the cookie of a session comes from a page of this server.

    Browsers do not send this cookie for pages of other sites (`SameSite=Strict`). But pages of other ports of this host
    are of the same site, so the page has to be of the same origin: the browser says so in `Sec-Fetch-Site`, or, without
    TLS, in the `Origin` of calls that change something.
    """
    site = request.headers.get("sec-fetch-site")
    is_safe = request.method in {"GET", "HEAD"}
    if site is not None:
        return site == "same-origin" or (site == "none" and is_safe)
    origin = request.headers.get("origin")
    if origin is None:
        return is_safe
    return origin.partition("://")[2] == request.headers.get("host", "")


def _names_this_machine(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
