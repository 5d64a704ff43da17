"""Let schemathesis send models as they are. Its command loads this module by ``SCHEMATHESIS_HOOKS``."""

import schemathesis

from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.resuming import PARTIAL_UPLOAD


@schemathesis.serializer(MEDIA_TYPE, PARTIAL_UPLOAD)
def raw(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """Return a body of bytes as it is."""
    return value if isinstance(value, bytes) else str(value).encode()
