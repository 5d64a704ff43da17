"""The agent SDK: a trainer beside private data, served to the control plane."""

from tcsfeel.agent.app import Agent
from tcsfeel.agent.enrolment import has_enrolled
from tcsfeel.agent.errors import (
    AgentError,
    BrokenResult,
    CannotListen,
    EnrolmentRefused,
    NoLabelPrivacy,
    RegistrationRefused,
    TrainerNotFound,
)
from tcsfeel.agent.host import AgentHost
from tcsfeel.agent.loading import load_trainer
from tcsfeel.agent.server import Hosting, hosting, serve, serve_many
from tcsfeel.agent.signing import Signing
from tcsfeel.agent.tasks import seconds_left, task_cancelled
from tcsfeel.agent.trainer import EvaluateResult, Evaluator, FitResult, Profile, Trainer, hyperparameter
from tcsfeel.wire.codec import Parameters
from tcsfeel.wire.tasks import Task

__all__ = [
    "Agent",
    "AgentError",
    "AgentHost",
    "BrokenResult",
    "CannotListen",
    "EnrolmentRefused",
    "EvaluateResult",
    "Evaluator",
    "FitResult",
    "Hosting",
    "NoLabelPrivacy",
    "Parameters",
    "Profile",
    "RegistrationRefused",
    "Signing",
    "Task",
    "Trainer",
    "TrainerNotFound",
    "has_enrolled",
    "hosting",
    "hyperparameter",
    "load_trainer",
    "seconds_left",
    "serve",
    "serve_many",
    "task_cancelled",
]
