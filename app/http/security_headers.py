"""The headers of answers that tell browsers what they may do with them.

They are constants, since each answer has them: a middleware adds them to the raw headers of an answer.
"""

import base64
import hashlib
import re
from collections.abc import Iterable

Header = tuple[bytes, bytes]

NOTHING = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The policy of an answer that is no page: a browser that shows it runs and loads nothing."""

OWN_FILES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The policy of a page that consists of files of this server: no script or style is in it, and no text is parsed."""

_ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
_NO_PAGE: Header = (b"content-security-policy", NOTHING)
_NOT_STORED: Header = (b"cache-control", b"no-store")
_TLS_ONLY: Header = (b"strict-transport-security", b"max-age=31536000")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def secured(headers: Iterable[Header], *, over_tls: bool) -> list[Header]:
    """Return the headers of an answer with those that secure it. What the application has chosen stays as it is.

    An answer without an ETag is stored nowhere. A browser that got the answer over TLS calls this host without TLS no
    more.
    """
    given = list(headers)
    names = {name for name, _ in given}
    given += _ALWAYS
    if b"content-security-policy" not in names:
        given.append(_NO_PAGE)
    if b"etag" not in names and b"cache-control" not in names:
        given.append(_NOT_STORED)
    if over_tls:
        given.append(_TLS_ONLY)
    return given


def policy_of(page: str) -> str:
    """Make the policy of a page, whose scripts and styles come from this server.

    Of the scripts inside the page, it allows those that the page has now, by their digests. Swagger UI sets styles of
    elements, which no digest can allow.
    """
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _SCRIPT.findall(page)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
