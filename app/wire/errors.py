"""Errors of the wire protocol. What arrives is hostile until checked, so each says what was wrong with it."""


class WireError(ValueError):
    """Bytes that do not follow the agent protocol."""


class MalformedBody(WireError):
    """A body that is not in the content coding that it claims, or holds too much."""


class MalformedParameters(WireError):
    """A parameter file whose header or layout is broken."""


class MalformedMetadata(WireError):
    """A parameter file whose ``task`` or ``result`` metadata is missing or breaks its schema."""
