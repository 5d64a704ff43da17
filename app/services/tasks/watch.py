"""How long an agent was seen to be at work on a task, by the clock of the control plane.

What an agent says of its time is its word: one that claims to train in no time at all would be taken for the fastest.
Only what is certain is counted, and never time that the control plane lost: from the first to the last answer that said
that the task was being worked on, and as long as the last call waited at the agent for its answer.
"""

from dataclasses import dataclass

from app.services.tasks.replies import Reply


@dataclass(slots=True)
class Watch:
    """One try of one task. Instants are unix seconds.

    Attributes:
        began: the first answer that said that the task was being worked on, None before.
        working: the last such answer.
        waited: seconds for which the last call waited for the beginning of its answer.
    """

    began: float | None = None
    working: float = 0.0
    waited: float = 0.0

    def note(self, reply: Reply, asked: float, now: float) -> None:
        """Take in the reply, which has come in `now`, to a call that went out when it was `asked`."""
        self.waited = max(0.0, now - asked - reply.seconds)
        if reply.answer == "working":
            self.began, self.working = self.began or now, now
        elif reply.answer == "unknown":  # it has lost the task and begins again
            self.began = None

    @property
    def seconds(self) -> float:
        """For how long the agent was certainly at work, or on its way, once there is a result."""
        return self.waited + (0.0 if self.began is None else max(0.0, self.working - self.began))
