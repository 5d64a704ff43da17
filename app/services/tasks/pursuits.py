"""A task while the dispatcher runs it."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field

from app.domain.clients import Endpoint
from app.domain.tasks import TaskRun, Watch
from app.services.tasks.assignments import Assignment
from app.services.tasks.bodies import Origin, TaskBody


@dataclass(slots=True)
class Pursuit:
    """A task while it is run. Only the dispatcher changes it, and `runs` is what others see of it.

    Attributes:
        agent: where its agent was when that was last read, and what authorizes calls of it.
        identified: the last address that proved during the task that it belongs to the client's device.
        bodies: what was handed over, by whether the frozen tensors were left out.
        watch: how long the agent was seen to be at work in the present attempt.
    """

    assignment: Assignment
    runs: MutableMapping[str, TaskRun]
    agent: Endpoint
    identified: Endpoint | None = None
    bodies: dict[bool, TaskBody] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)

    @property
    def run(self) -> TaskRun:
        return self.runs[self.assignment.client.id]

    @run.setter
    def run(self, run: TaskRun) -> None:
        self.runs[self.assignment.client.id] = run

    def body(self, *, partly: bool) -> TaskBody:
        """Return what is handed over, with the frozen tensors or `partly` without them."""
        if partly not in self.bodies:
            of = self.assignment
            model = of.model if of.frozen is None or partly else of.frozen.whole
            file = of.file if of.subtree is None else None  # a relay passes on what comes with its task
            self.bodies[partly] = TaskBody(*model.payload(of.metadata), Origin(of.task, model, file))
        return self.bodies[partly]
