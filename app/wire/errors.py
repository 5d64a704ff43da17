"""Errors of the wire protocol. What arrives is hostile until checked, so each says what was wrong with it."""


class WireError(ValueError):
    """Bytes that do not follow the agent protocol."""


class MalformedParameters(WireError):
    """A parameter file whose header or layout is broken."""


class MalformedMetadata(WireError):
    """A parameter file whose ``task`` or ``result`` metadata is missing or breaks its schema."""
