"""Errors of the wire protocol. What arrives is hostile until checked, so each says what was wrong with it."""

SHOWN = 64  # characters of a text that somebody else chose


def quoted(text: str) -> str:
    """Give `text` as Python would write it, cut short, with everything escaped that a terminal would not print."""
    shown = repr(text[:SHOWN])
    return shown if len(text) <= SHOWN else f"{shown}…"


class WireError(ValueError):
    """Bytes that do not follow the agent protocol."""


class MalformedBody(WireError):
    """A body that is not in the content coding that it claims, or holds too much."""


class MalformedParameters(WireError):
    """A parameter file whose header or layout is broken."""


class MalformedMetadata(WireError):
    """A parameter file whose ``task`` or ``result`` metadata is missing or breaks its schema."""
