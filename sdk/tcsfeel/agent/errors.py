"""The errors of agents. Each message is one line that tells an operator what to do."""

from tcsfeel.errors import Picklable


class AgentError(Picklable):
    """The base class of the errors that the SDK raises."""


class TrainerNotFound(AgentError):
    """``package.module:attribute`` does not lead to a trainer."""


class NoLabelPrivacy(AgentError):
    """The label counts cannot be released with the noise that was requested."""


class BrokenResult(AgentError):
    """A trainer returned something that is not a valid result of its task."""


class CannotListen(AgentError):
    """The address is in use, unknown or not allowed, or the control plane could not reach the agent under it."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {reason}")
        self.host = host
        self.port = port
        self.reason = reason


class UntrustedTask(AgentError):
    """A task was not signed by the agent's control plane."""


class FetchFailed(AgentError):
    """The parameters of a task could not be fetched."""


class RegistrationRefused(AgentError):
    """The control plane refused a registration, and asking again would not change that."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the control plane refused the registration: {status} {detail}")
        self.status = status
        self.detail = detail


class EnrolmentRefused(AgentError):
    """The control plane refused to enrol a client, and asking again would not change that."""

    def __init__(self, client_id: str, status: int, detail: str) -> None:
        super().__init__(f"the control plane refused to enrol client {client_id}: {status} {detail}")
        self.client_id = client_id
        self.status = status
        self.detail = detail
