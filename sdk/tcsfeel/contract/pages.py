"""Lists in pages."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from tcsfeel.contract.fields import ResponseModel

Item = TypeVar("Item")


class Page(ResponseModel, Generic[Item]):
    """Some items, and where the next ones begin."""

    items: list[Item]
    next_cursor: Annotated[str | None, Field(description="Pass it as `cursor` for the next page; null at the end")]
