"""Which clients may train in a training, whatever the strategy would choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.clients import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The conditions that a client has to meet to be selected; by default there are none.

    Attributes:
        tags: all of these tags, with these values.
        clients: the ids of the only clients that may train; empty for all.
        exclude: the ids of clients that may not.
        min_data_size: the least number of training samples.
        min_reliability: the least probability that a task comes back, 0..1, as measured, or claimed until then.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    clients: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_data_size: int = 0
    min_reliability: float = 0.0

    def refusal(self, client: Client) -> str | None:
        """Say why a client may not train; return None if it may."""
        if client.id in self.exclude:
            return "the training excludes it"
        if self.clients and client.id not in self.clients:
            return "it is not one of the clients that the training names"
        for key, value in self.tags.items():
            if client.profile.tags.get(key) != value:
                return f"it does not have the tag {key}:{value} that the training asks for"
        if client.profile.data_size < self.min_data_size:
            return f"it has {client.profile.data_size} samples, and the training asks for {self.min_data_size}"
        reliability = client.candidate().reliability
        if reliability < self.min_reliability:
            return f"its reliability is {reliability:.2f}, and the training asks for {self.min_reliability:g}"
        return None


ANYWHERE = Where()
