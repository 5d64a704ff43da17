"""The audit trail in responses. `tcsfeel.audit` says how records are hashed."""

from typing import Annotated

from pydantic import Field

from tcsfeel.contract.fields import Instant, ResponseModel


class AuditRecordOut(ResponseModel):
    """A call, or several identical ones: who did what, from where, with what result."""

    sequence: Annotated[int, Field(description="Its number: 1 for the first of all, and no number is missing")]
    at: Annotated[Instant, Field(description="When it was answered, by the clock of the database")]
    actor: Annotated[str, Field(description="The name of the caller's key, or of the server", examples=["admin key"])]
    role: Annotated[str | None, Field(description="The caller's role; null without a valid key")]
    key_id: Annotated[str | None, Field(description="The id of the caller's key; null for the admin key")]
    address: Annotated[str, Field(description="The address from which the connection came", examples=["10.0.0.7"])]
    operation: Annotated[
        str,
        Field(
            description="The method and the template of the path; `start` and `stop` of a server",
            examples=["DELETE /v1/clients/{client_id}"],
        ),
    ]
    parameters: Annotated[
        dict[str, str],
        Field(description="The values in the path, and what the call has made; none of a caller without a valid key"),
    ]
    status: Annotated[int, Field(description="The status of the answer; 0 where there is no call", examples=[204])]
    request_id: Annotated[str | None, Field(description="The `X-Request-ID`; of several calls, null")]
    count: Annotated[int, Field(description="How many identical calls this record stands for")]
    previous: Annotated[str, Field(description="The `hash` of the record before; 64 zeros in the first of all")]
    hash: Annotated[str, Field(description="SHA-256 of all other fields that are not null, as canonical JSON")]


class AuditHeadOut(ResponseModel):
    """The newest record, whose hash stands for the whole trail."""

    sequence: Annotated[int, Field(description="The number of the newest record; 0 if there is none")]
    hash: str
    at: Annotated[Instant | None, Field(description="When the call of that record was answered")]
