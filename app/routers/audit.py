"""``/v1/audit``: who did what, from where, with what result."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.domain.audit import AuditRecord, Result, hashed_fields
from app.http.deps import AnswerPlace, AppAudit
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.http.writing import written
from app.store.audit import AuditFilter
from tcsfeel.contract.audit import AuditHeadOut, AuditRecordOut
from tcsfeel.contract.fields import GivenInstant
from tcsfeel.contract.pages import Page
from tcsfeel.errors import Invalid

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=ApiRoute)

_MOST_DIGITS = 18  # of a number that a database stores in 64 bits


@router.get("", response_model=Page[AuditRecordOut], openapi_extra=Needs.admin)
async def list_audit_records(
    *,
    audit: AppAudit,
    place: AnswerPlace,
    actor: Annotated[
        str | None, Query(max_length=128, description="Only calls of this actor", examples=["admin key"])
    ] = None,
    operation: Annotated[
        str | None,
        Query(max_length=256, description="Only this operation", examples=["DELETE /v1/clients/{client_id}"]),
    ] = None,
    result: Annotated[
        Result | None,
        Query(description="Only calls with a status below 400, of 400 to 499, or from 500 on"),
    ] = None,
    since: Annotated[GivenInstant | None, Query(description="Only calls answered at this time or later")] = None,
    until: Annotated[GivenInstant | None, Query(description="Only calls answered before this time")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List the audit records in the order of their numbers: the oldest that is kept comes first."""
    only = AuditFilter(
        actor=actor,
        operation=operation,
        result=result,
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
    )
    found = await audit.after(_number(cursor), only=only, limit=limit)
    async with place:
        return await written(lambda: page_of(found, _shown, _key))


@router.get("/head", openapi_extra=Needs.admin)
async def get_audit_head(audit: AppAudit) -> AuditHeadOut:
    """Read the number and the hash of the newest audit record.

    Who keeps them elsewhere can prove later that the trail up to this record is unchanged.
    """
    return AuditHeadOut.of(await audit.head())


def _shown(record: AuditRecord) -> AuditRecordOut:
    return AuditRecordOut.model_validate(hashed_fields(record) | {"hash": record.hash})


def _key(record: AuditRecord) -> tuple[str]:
    return (str(record.sequence),)


def _number(cursor: str | None) -> int:
    """Read the number that a cursor holds, as a text, because it may become larger than those of other lists."""
    key = decode_cursor(cursor, str)
    if key is None:
        return 0
    if not key[0].isdecimal() or len(key[0]) > _MOST_DIGITS:
        raise Invalid("/query/cursor", "is not a cursor of this list: leave it out to get the first page")
    return int(key[0])
