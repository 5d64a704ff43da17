"""Groups of tensors in requests and responses: which are averaged, which stay on the devices, which never change."""

from typing import Annotated

from pydantic import Field, model_validator

from tcsfeel.contract.fields import PlainText, RequestModel, ResponseModel, wrong_fields
from tcsfeel.wire.groups import MOST_CHARACTERS, MOST_PATTERNS

Patterns = Annotated[list[Annotated[PlainText, Field(min_length=1)]], Field(max_length=MOST_PATTERNS)]


class ParameterGroupsIn(RequestModel):
    """Patterns over whole names of tensors: `*` stands for any characters, `?` for one."""

    averaged: Annotated[
        Patterns, Field(description="Tensors that are only averaged, without the server optimiser, such as `*.ema`")
    ] = []
    local: Annotated[
        Patterns, Field(description="Tensors that stay on the devices and are never sent, such as `bn*` or `head.*`")
    ] = []
    frozen: Annotated[
        Patterns, Field(description="Tensors that never change: each device gets them once, and never sends them")
    ] = []

    @model_validator(mode="after")
    def _leave_something_to_train(self) -> "ParameterGroupsIn":
        wrong: list[tuple[tuple[str | int, ...], str]] = []
        for group in ("local", "frozen"):
            for number, pattern in enumerate(getattr(self, group)):
                if not pattern.strip("*"):
                    wrong.append(((group, number), "should not match every tensor: nothing would be left to train"))
                elif group == "frozen" and pattern in self.local:
                    wrong.append(((group, number), "should not be in local as well"))
        if sum(map(len, self.local)) > MOST_CHARACTERS:
            wrong.append((("local",), f"should have at most {MOST_CHARACTERS} characters in all patterns together"))
        if wrong:
            raise wrong_fields(wrong)
        return self


class ParameterGroupsOut(ResponseModel):
    """As in the request."""

    averaged: list[str]
    local: list[str]
    frozen: list[str]
