"""The agent SDK: a trainer beside private data, served to the control plane."""

from app.agent.app import Agent
from app.agent.errors import (
    AgentError,
    BrokenResult,
    CannotListen,
    NoLabelPrivacy,
    RegistrationRefused,
    TrainerNotFound,
)
from app.agent.host import AgentHost
from app.agent.loading import load_trainer
from app.agent.server import Hosting, hosting, serve, serve_many
from app.agent.tasks import task_cancelled
from app.agent.trainer import EvaluateResult, Evaluator, FitResult, Profile, Trainer, hyperparameter
from app.wire.codec import Parameters
from app.wire.tasks import Task

__all__ = [
    "Agent",
    "AgentError",
    "AgentHost",
    "BrokenResult",
    "CannotListen",
    "EvaluateResult",
    "Evaluator",
    "FitResult",
    "Hosting",
    "NoLabelPrivacy",
    "Parameters",
    "Profile",
    "RegistrationRefused",
    "Task",
    "Trainer",
    "TrainerNotFound",
    "hosting",
    "hyperparameter",
    "load_trainer",
    "serve",
    "serve_many",
    "task_cancelled",
]
