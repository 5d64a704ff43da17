"""Configuration from the environment, divided by what its sections are about."""

from app.settings.access import KEY, AuthSettings, OidcSettings, TlsSettings
from app.settings.agents import AgentSettings, HealthSettings
from app.settings.environment import PREFIX, Settings, WrongSetting
from app.settings.hosts import is_local, is_loopback
from app.settings.insight import DocumentationSettings, LogSettings, MetricSettings, TraceSettings
from app.settings.limits import LimitSettings
from app.settings.storage import AuditSettings, DatabaseSettings, EventSettings, ModelSettings
from app.settings.trainings import CoordinatorSettings, TrainingSettings

__all__ = [
    "KEY",
    "PREFIX",
    "AgentSettings",
    "AuditSettings",
    "AuthSettings",
    "CoordinatorSettings",
    "DatabaseSettings",
    "DocumentationSettings",
    "EventSettings",
    "HealthSettings",
    "LimitSettings",
    "LogSettings",
    "MetricSettings",
    "ModelSettings",
    "OidcSettings",
    "Settings",
    "TlsSettings",
    "TraceSettings",
    "TrainingSettings",
    "WrongSetting",
    "is_local",
    "is_loopback",
]
