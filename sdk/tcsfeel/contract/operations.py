"""The responses that tell whether the process is up and ready."""

from typing import Literal

from tcsfeel.contract.fields import ResponseModel


class Health(ResponseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Ready(ResponseModel):
    """The result of each check; `ok` if it found no problem."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]
