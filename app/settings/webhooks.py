"""Where the receivers of webhooks may be."""

from typing import Annotated, Any

from pydantic import IPvAnyNetwork, field_validator
from pydantic_settings import NoDecode

from app.settings.section import Section, networks_of


class WebhookSettings(Section):
    """Where the receivers of webhooks may be; as for agents, an empty list allows what is public."""

    allowed_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return networks_of(value)
