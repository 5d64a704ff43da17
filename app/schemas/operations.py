"""Whether the process is up and ready, in responses."""

from typing import Literal

from app.schemas.fields import ResponseModel


class Health(ResponseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Ready(ResponseModel):
    """Each check's finding; `ok` where there is nothing to say."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]

    @classmethod
    def of(cls, findings: dict[str, str]) -> "Ready":
        well = all(finding == "ok" for finding in findings.values())
        return cls(status="ready" if well else "not ready", checks=findings)
