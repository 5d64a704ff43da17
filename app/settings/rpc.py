"""The port for gRPC."""

from typing import Annotated

from pydantic import Field

from app.settings.section import Section


class GrpcSettings(Section):
    """Without a `port`, the server does not speak gRPC.

    With `reflection`, it describes its methods to everybody, unless the documentation of the API needs a key.
    """

    port: Annotated[int | None, Field(ge=0, le=65535)] = None
    reflection: bool = True
