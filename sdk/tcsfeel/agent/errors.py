"""What can go wrong on the agent's side. Each message is one line that an operator can act on."""


class AgentError(Exception):
    """Root of the errors that the SDK raises."""


class TrainerNotFound(AgentError):
    """``package.module:attribute`` does not lead to a trainer."""


class NoLabelPrivacy(AgentError):
    """Label counts cannot be released with noise as asked."""


class BrokenResult(AgentError):
    """A trainer gave something that is not a valid result of its task."""


class CannotListen(AgentError):
    """The address is taken, unknown or not ours, or one that nobody could reach would be advertised."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {reason}")
        self.host = host
        self.port = port
        self.reason = reason


class RegistrationRefused(AgentError):
    """The control plane answered, and its answer will not change by asking again."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the control plane refused the registration: {status} {detail}")
        self.status = status
        self.detail = detail
