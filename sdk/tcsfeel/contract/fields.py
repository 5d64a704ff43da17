"""Field types that several schemas share, and the two models that all others derive from."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

ID_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
# Controls, line breaks, and marks that turn the direction of writing.
_UNPRINTED = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
PLAIN_PATTERN = rf"^[^{_UNPRINTED}]*$"
TASK_ID_PATTERN = r"^[A-Za-z0-9._-]{1,256}$"
URL_PATTERN = r"^https?://[\x21-\x7e]+$"
KEY_PATTERN = r"^[\x21-\x7e]+$"
TAG_PATTERN = rf"^[^{_UNPRINTED}:]+:[^{_UNPRINTED}]*$"
KEY_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._@/-]{0,63}$"
METRIC_PATTERN = r"^[A-Za-z][A-Za-z0-9_./@-]{0,63}$"
ID_GLOB_PATTERN = r"^[A-Za-z0-9._*?-]{1,64}$"
PUBLIC_KEY_PATTERN = r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"  # the last character has four bits of the key
SIGNATURE_PATTERN = r"^[A-Za-z0-9_-]{85}[AQgw]$"
PATTERN_RULES = {
    ID_PATTERN: "should be 1 to 64 of the characters A-Z a-z 0-9 . _ -",
    TASK_ID_PATTERN: "should be 1 to 256 of the characters A-Z a-z 0-9 . _ -",
    PLAIN_PATTERN: "should not contain control characters",
    URL_PATTERN: "should be a URL with http:// or https://, in visible ASCII characters",
    KEY_PATTERN: "should be visible ASCII characters",
    KEY_NAME_PATTERN: "should begin with a letter or a digit and have at most 63 more of A-Z a-z 0-9 space . _ @ / -",
    METRIC_PATTERN: "should be a letter and at most 63 more of the characters A-Z a-z 0-9 _ - . / @",
    ID_GLOB_PATTERN: "should be 1 to 64 of the characters A-Z a-z 0-9 . _ - * ?",
    PUBLIC_KEY_PATTERN: "should be the 32 bytes of a public key in base64url without padding, which are 43 characters",
    SIGNATURE_PATTERN: "should be the 64 bytes of a signature in base64url without padding, which are 86 characters",
    TAG_PATTERN: "should be key:value, without control characters",
}
"""The rule of each pattern, in words."""


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
STRICT = ConfigDict(strict=True, allow_inf_nan=False)


class RequestModel(BaseModel):
    """The base class of request bodies and their parts.

    Attributes:
        max_bytes: the most bytes that a body may have.
        max_items: the most lists, objects and elements that it may have together, counted by brackets and commas.
    """

    max_bytes: ClassVar[int] = 65_536
    max_items: ClassVar[int] = 2_000

    model_config = ConfigDict(**STRICT, extra="forbid", frozen=True)


class ResponseModel(BaseModel):
    """The base class of responses. A response is made from a value that has its fields as attributes."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    @classmethod
    def of(cls, value: object) -> Self:
        """Make the response from a value that has its fields as attributes."""
        return cls.model_validate(value)


def wrong_fields(rules: Iterable[tuple[tuple[str | int, ...], str]]) -> ValidationError:
    """Make an error with a place for each rule. A plain error from a validator of a whole model has no place."""
    return ValidationError.from_exception_data(
        "request",
        [
            InitErrorDetails(type=PydanticCustomError("value_error", "{rule}", {"rule": rule}), loc=place, input=None)
            for place, rule in rules
        ],
    )


def _agent_url(url: str) -> str:
    """Check an http(s) base URL. It may have no credentials, which would be logged, and no query, which has no use."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its message may repeat a part of the URL
        raise ValueError("should be a URL whose host and port can be read") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("should be http://host or https://host, with an optional port and path")
    if port == 0 or parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("should have no credentials, query, fragment or port 0")
    return url


def _moment(value: Any) -> Any:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else value


def _written(value: Any) -> Any:
    """Refuse what pydantic would take for unix seconds, such as ``"0.5"``."""
    if isinstance(value, str) and _DATE_TIME.fullmatch(value) is None:
        raise ValueError("should be a time with a date and a zone, such as 2026-11-30T12:00:00Z")
    return value


ClientId = Annotated[str, Field(pattern=ID_PATTERN, examples=["edge-7"])]
PlainText = Annotated[str, Field(pattern=PLAIN_PATTERN, max_length=256)]
AgentUrl = Annotated[str, Field(pattern=URL_PATTERN, max_length=2048), AfterValidator(_agent_url)]
Instant = Annotated[datetime, BeforeValidator(_moment)]
"""A time in UTC by RFC 3339, made from unix seconds."""
GivenInstant = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A time by RFC 3339 that a caller gives."""
