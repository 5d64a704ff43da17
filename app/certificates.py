"""The certificates that the settings name, for calls of agents and for callers of the API."""

import ssl

from app.settings import AgentSettings, TlsSettings, WrongSetting
from tcsfeel.certificates import UnusableCertificate, show_certificate, to_callers, to_servers


def for_agents(settings: AgentSettings) -> ssl.SSLContext:
    """Make the context for calls of agents with https. Raises `WrongSetting`."""
    try:
        context = to_servers(settings.ca_file)
        if settings.client_cert_file is not None and settings.client_key_file is not None:
            show_certificate(context, settings.client_cert_file, settings.client_key_file)
    except UnusableCertificate as error:
        prefix = "" if error.which == "ca_file" else "CLIENT_"
        raise WrongSetting(f"TCSFEEL_AGENTS__{prefix}{error.which.upper()}: {error}") from None
    return context


def for_callers(settings: TlsSettings) -> ssl.SSLContext | None:
    """Make the context of the server itself; None if it speaks plain HTTP. Raises `WrongSetting`."""
    if settings.cert_file is None or settings.key_file is None:
        return None
    try:
        return to_callers(settings.cert_file, settings.key_file)
    except UnusableCertificate as error:
        raise WrongSetting(f"TCSFEEL_TLS__{error.which.upper()}: {error}") from None
