"""Every kind of event by the name of its type."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType, ModuleType

from app.domain.events import clients, invitations, keys, rounds, trainings, webhooks
from app.domain.events.event import Event


def _kinds(module: ModuleType) -> Iterator[type[Event]]:
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, Event) and "type" in vars(kind):
            yield kind


CATALOG: Mapping[str, type[Event]] = MappingProxyType(
    {kind.type: kind for module in (clients, invitations, trainings, rounds, keys, webhooks) for kind in _kinds(module)}
)
