"""Traces of rounds. A server that exports none has the `Traces` of this module, which does nothing and imports nothing.

`app.traces.spans` makes spans with OpenTelemetry, which the extra ``tcsfeel-server[otel]`` installs.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

Attribute = str | int | float | bool
TRACEPARENT = "traceparent"
"""The header that names a step, as W3C Trace Context has it."""
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Step:
    """A step of a round, which is not traced."""

    def note(self, **attributes: Attribute | None) -> None:
        """Add what the step has found out. None is left out."""

    def fail(self, reason: str) -> None:
        """Mark the step as failed, for a reason."""

    def worked(self, kind: str, seconds: float, upload_seconds: float) -> None:
        """Add the agent's own spans to a step that has ended with its answer to a task of this kind.

        The agent says that it worked for `seconds`. The server has seen the answer come in for `upload_seconds`.
        """


UNTRACED = Step()
_BLOCK = nullcontext(UNTRACED)


class Traces:
    """Traces nothing."""

    exports = False
    """Whether spans are made."""

    def round(self, training_id: str, number: int) -> AbstractContextManager[Step]:
        """Trace a round, or what one server does of it, in the block: every step inside belongs to it."""
        del training_id, number
        return _BLOCK

    def step(self, name: str, **attributes: Attribute | None) -> AbstractContextManager[Step]:
        """Trace one step of the round in the block."""
        del name, attributes
        return _BLOCK

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a request that name the present step, as W3C Trace Context has them."""
        return _NO_HEADERS

    def exemplar(self, training_id: str, number: int) -> dict[str, str] | None:
        """Return the labels that lead from a figure of a round to its trace; None if it is not exported."""
        del training_id, number
        return None

    def close(self) -> None:
        """Export what is left. It blocks."""
