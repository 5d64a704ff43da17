"""Make what traces rounds, if the settings ask for traces."""

from app.settings import TraceSettings, WrongSetting
from app.traces import Traces


def traces_of(settings: TraceSettings, server: str) -> Traces:
    """Return what exports traces of this server, or what does nothing.

    Raises `WrongSetting` if packages are missing.
    """
    if settings.endpoint is None:
        return Traces()
    try:
        from app.traces.exporting import exported  # noqa: PLC0415  (its packages are those of an extra)
    except ImportError as error:
        raise WrongSetting(
            f"TCSFEEL_TRACES__ENDPOINT: needs packages that are not installed ({error}): install the extra with "
            "pip install 'tcsfeel-server[otel]', or leave the endpoint out"
        ) from None
    return exported(settings.endpoint, server=server, share=settings.share)
