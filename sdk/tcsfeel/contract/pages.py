"""Pages of lists."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from tcsfeel.contract.fields import ResponseModel

Item = TypeVar("Item")


class Page(ResponseModel, Generic[Item]):
    """Some items of a list, and the cursor of the next page."""

    items: list[Item]
    next_cursor: Annotated[
        str | None, Field(description="Pass it as `cursor` to get the next page; null on the last page")
    ]
