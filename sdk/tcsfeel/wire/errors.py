"""Define the errors of the wire protocol. Each says what is wrong with the bytes, which may be hostile."""

SHOWN = 64  # characters of a foreign text that an error shows


def quoted(text: str) -> str:
    """Return `text` in quotes as Python writes it, cut short and with escapes for what a terminal would not print."""
    shown = repr(text[:SHOWN])
    return shown if len(text) <= SHOWN else f"{shown}…"


class WireError(ValueError):
    """Bytes that do not follow the agent protocol."""


class MalformedBody(WireError):
    """A body does not have the content coding that it claims, or holds too much."""


class MalformedParameters(WireError):
    """The header or the layout of a parameter file is broken."""


class MalformedMetadata(WireError):
    """The ``task`` or ``result`` metadata of a parameter file is missing or breaks its schema."""
