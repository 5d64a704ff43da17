"""API keys in requests and responses."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tcsfeel.contract.fields import ID_PATTERN, KEY_NAME_PATTERN, Instant, RequestModel, ResponseModel, wrong_fields

LONGEST_LIFE = 315_360_000.0  # ten years
LONGEST_GRACE = 31_536_000.0  # a year

Role = Literal["viewer", "operator", "admin", "agent"]
KeyState = Literal["valid", "expired", "revoked"]
Lifetime = Annotated[
    float, Field(ge=1, le=LONGEST_LIFE, description="Seconds until the key expires; a key without it does not expire")
]


ROTATIONS: list[Any] = [{"grace_seconds": 3600}]


class CreateKey(RequestModel):
    """A new key."""

    model_config = {
        "json_schema_extra": {
            "examples": [
                {"name": "ci", "role": "operator", "lifetime_seconds": 7776000},
                {"name": "edge-7", "role": "agent", "client_id": "edge-7"},
            ]
        }
    }

    name: Annotated[
        str, Field(pattern=KEY_NAME_PATTERN, description="Tells people whose key it is; several keys may have one name")
    ]
    role: Role
    client_id: Annotated[
        str | None, Field(pattern=ID_PATTERN, description="The client of an agent; only for the role `agent`")
    ] = None
    lifetime_seconds: Lifetime | None = None

    @model_validator(mode="after")
    def _client_of_an_agent(self) -> "CreateKey":
        if (self.role == "agent") != (self.client_id is not None):
            rule = "is needed for the role agent" if self.client_id is None else "is only for the role agent"
            raise wrong_fields([(("client_id",), rule)])
        return self


class RotateKey(RequestModel):
    """How a key is replaced by a new one."""

    grace_seconds: Annotated[
        float, Field(ge=0, le=LONGEST_GRACE, description="Seconds for which the old key stays valid beside the new one")
    ] = 86_400.0
    lifetime_seconds: Annotated[
        float | None,
        Field(
            ge=1,
            le=LONGEST_LIFE,
            description="Seconds until the new key expires; without it, as many as the old key was made for",
        ),
    ] = None


class KeyOut(ResponseModel):
    """An API key, without its text."""

    id: str
    name: str
    role: Role
    client_id: str | None
    state: KeyState
    created_at: Instant
    created_by: Annotated[str, Field(description="The name of the caller that made it")]
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Annotated[Instant | None, Field(description="When it was last used, to within a minute or two")]
    replaces: Annotated[str | None, Field(description="The id of the key that was rotated to this one")]


class NewKeyOut(KeyOut):
    """A key that was just made."""

    key: Annotated[str, Field(description="The text of the key. It is shown only in this answer: no server stores it")]


class CallerOut(ResponseModel):
    """Who the server takes the caller for."""

    name: Annotated[str, Field(description="The name of its key, which events show as their actor")]
    role: Annotated[Role, Field(description="What it may do")]
    key_id: Annotated[str | None, Field(description="Null for the admin key, for tokens, and where no key is needed")]
