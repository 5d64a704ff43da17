"""What all sections of the settings are made of."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the settings, whose variables begin with ``TCSFEEL_<name>__``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parsed(value: Any) -> Any:
    """Parse the JSON of a variable whose value is a list or an object; None if it is none.

    A value that is no text was given by the program, and stays as it is.
    """
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None


def networks_of(value: Any) -> Any:
    """Read a list of networks as JSON, for a validator. Raises `ValueError`."""
    value = parsed(value)
    if not isinstance(value, list | tuple):
        raise ValueError('must be a JSON list of networks, such as ["10.0.0.0/8", "fd00::/8"]')  # noqa: TRY004  (pydantic's way)
    return value
