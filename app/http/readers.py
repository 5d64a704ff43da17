"""Ask those who read metrics or the documentation for a key, where a setting says so.

Monitoring sends the key as a bearer token. Browsers ask for it: they send it as the password of any user.
"""

from fastapi import HTTPException, Request
from fastapi.security import HTTPBasic

from app.domain.errors import Forbidden
from app.http.deps import authenticate, wired
from app.services.access.keys import Unauthenticated

_basic = HTTPBasic(auto_error=False)


class KeyForPage(Unauthenticated):
    """A page was asked for without a valid key. The answer makes a browser ask its user."""


async def reader_of_metrics(request: Request) -> None:
    """Admit who may read metrics."""
    if wired(request).settings.metrics.need_key:
        await _admit(request)


async def reader_of_documentation(request: Request) -> None:
    """Admit who may read the description of the API."""
    if wired(request).settings.docs.need_key:
        await _admit(request)


async def _admit(request: Request) -> None:
    """Admit a caller with a key of a person or a program. Raises `KeyForPage`, or `Forbidden` for an agent's key."""
    found = wired(request)
    try:
        given = await _basic(request)
        if given is not None and found.settings.auth.enabled:
            by = await found.callers.identify(given.password)
        else:
            by = await authenticate(request)
    except (Unauthenticated, HTTPException) as error:  # the latter for a password that is not encoded well
        raise KeyForPage(sent="Authorization" in request.headers) from error
    if not by.may("viewer"):
        raise Forbidden(by.role, "viewer", by.client_id)
