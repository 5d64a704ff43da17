"""The selection over gRPC, for coordinators that drive rounds themselves.

Each call becomes a call of the REST API inside this process (`gateway.py`). So keys, roles, limits, the audit trail and
the checks of values exist once. The packages of the extra ``tcsfeel-server[grpc]`` are imported only by a server that
has a port for gRPC.
"""


class CannotListen(OSError):
    """The port for gRPC cannot be listened on."""

    @classmethod
    def at(cls, host: str, port: int) -> "CannotListen":
        """Make the error for a host and a port."""
        return cls(
            f"cannot listen for gRPC on {host} port {port}: it may be in use. Choose another with --grpc-port, or "
            "TCSFEEL_GRPC__PORT"
        )
