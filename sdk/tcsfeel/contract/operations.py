"""Whether the process is up and ready, in responses."""

from typing import Literal

from tcsfeel.contract.fields import ResponseModel


class Health(ResponseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Ready(ResponseModel):
    """Each check's finding; `ok` where there is nothing to say."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]
