"""Invitations and enrolments in requests and responses."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tcsfeel.contract.clients import Tags
from tcsfeel.contract.fields import (
    ID_GLOB_PATTERN,
    PUBLIC_KEY_PATTERN,
    SIGNATURE_PATTERN,
    ClientId,
    Instant,
    PlainText,
    RequestModel,
    ResponseModel,
)

MOST_USES = 100_000
DAY = 86_400
LONGEST_SECONDS = 365 * DAY
EXAMPLE_ID = "4fd9a30c7be1528d"  # of the invitation to which the proof of the example belongs
EXAMPLE_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # of RFC 8032, section 7.1, test 1

ExpiresInSeconds = Annotated[
    int, Field(ge=1, le=LONGEST_SECONDS, description="How long the invitation can be used, in seconds")
]
PublicKey = Annotated[
    str, Field(pattern=PUBLIC_KEY_PATTERN, description="Ed25519 public key of the device, in base64url without padding")
]
PatternOfIds = Annotated[
    str,
    Field(
        pattern=ID_GLOB_PATTERN,
        description="The ids that devices may have, with * for any characters and ? for one. A pattern may also match "
        "clients that are registered without a public key, whose ids devices can then take. Without a pattern, devices "
        "may have every id that no client has",
    ),
]


INVITATIONS: list[Any] = [
    {"uses": 1000, "expires_in_seconds": 604_800, "id_pattern": "edge-*", "tags": {"site": "north"}}
]
REPLACEMENTS: list[Any] = [{"expires_in_seconds": 3600}]


class CreateInvitation(RequestModel):
    """An invitation, with which devices enrol."""

    model_config = {"json_schema_extra": {"examples": INVITATIONS}}

    uses: Annotated[int, Field(ge=1, le=MOST_USES, description="How many devices may enrol")] = 1
    expires_in_seconds: ExpiresInSeconds = DAY
    id_pattern: PatternOfIds | None = None
    tags: Annotated[Tags, Field(description="Tags that the clients get, and that their devices cannot change")] = {}
    name: PlainText | None = None


class CreateReplacement(RequestModel):
    """An invitation for one new device, which takes the place of a client's device."""

    model_config = {"json_schema_extra": {"examples": REPLACEMENTS}}

    expires_in_seconds: ExpiresInSeconds = DAY


class InvitationOut(ResponseModel):
    """An invitation, without its secret."""

    id: str
    name: str | None
    state: Literal["open", "used_up", "expired", "revoked"]
    uses: int
    used: Annotated[int, Field(description="How many devices have enrolled with it")]
    uses_left: int
    id_pattern: str | None
    tags: dict[str, str]
    replaces: Annotated[str | None, Field(description="The client whose device a new device replaces")]
    created_at: Instant
    expires_at: Instant
    revoked_at: Instant | None


class CreatedInvitation(InvitationOut):
    """An invitation that was just made, with its secret. No other answer contains the secret."""

    secret: Annotated[str, Field(description="What devices enrol with; it is shown only once")]


class EnrolmentOut(ResponseModel):
    """A device that has enrolled."""

    client_id: str
    public_key: str
    invitation_id: str
    key_id: Annotated[str, Field(description="The id of the device's key")]
    enrolled_at: Instant


_EXAMPLE: dict[str, Any] = {
    "client_id": "edge-7",
    "public_key": EXAMPLE_KEY,
    "proof": "9Pd3Q97pPHuFqKngx5jJYrBS7awa0tRLm-cIBaP3Y5Cmi70VIDSPM_zIs9W7quf7UbAQBpVahqnMjrf9nEC0CQ",
}


class EnrolClient(RequestModel):
    """What a device sends to enrol. Its header `Authorization` has the secret of the invitation."""

    max_bytes = 4096
    max_items = 20

    model_config = {"json_schema_extra": {"examples": [_EXAMPLE]}}

    client_id: Annotated[
        ClientId | None, Field(description="The id that the device wants; if it is left out, the server chooses one")
    ] = None
    public_key: PublicKey
    proof: Annotated[
        str,
        Field(
            pattern=SIGNATURE_PATTERN,
            description="The device's signature over what it asks for, in base64url without padding. The page on the "
            "agent protocol shows the text",
        ),
    ]


class EnrolledOut(ResponseModel):
    """What a device gets when it has enrolled."""

    client_id: str
    key: Annotated[str, Field(description="The device's own API key; it is shown only once")]
    key_id: Annotated[str, Field(description="The id of the key, by which operators revoke it")]
    tags: Annotated[dict[str, str], Field(description="The tags that the client has from the invitation")]
    server_public_key: Annotated[
        str, Field(description="The Ed25519 public key with which the control plane signs its calls of the agent")
    ]
