"""The typed clients of the REST API: `Client` blocks, `AsyncClient` is for event loops. Both have the same methods.

from tcsfeel.client import Client

with Client("http://127.0.0.1:8080", key) as client:
    training = client.train(name="digits", target_accuracy=0.95)
"""

from importlib.util import find_spec

if find_spec("pydantic") is None:
    raise ImportError("tcsfeel.client needs pydantic, which the extra `client` installs: pip install 'tcsfeel[client]'")

from tcsfeel.client.asynchronous import AsyncClient
from tcsfeel.client.blocking import Client
from tcsfeel.client.following import NotDone, Progress
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.problems import (
    ApiError,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NoAnswer,
    NotFound,
    Refused,
    Removed,
    ServerFault,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Conflict",
    "FieldError",
    "Forbidden",
    "Invalid",
    "NoAnswer",
    "NotDone",
    "NotFound",
    "Patience",
    "Progress",
    "Refused",
    "Removed",
    "ServerFault",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
]
