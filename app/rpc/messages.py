"""The messages of gRPC, as classes made from their description, and their conversion to JSON values and back.

``topology.binpb`` is the compiled ``proto/tcsfeel/v1/topology.proto``. ``make protos`` compiles it again.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, timestamp_pb2
from google.protobuf.message import Message

COMPILED = "topology.binpb"
PACKAGE = "tcsfeel.v1"
SERVICE = f"{PACKAGE}.TopologyService"


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.Default()  # reflection shows what is in it
    needed = timestamp_pb2.DESCRIPTOR.name
    described = descriptor_pb2.FileDescriptorSet.FromString((files("app.rpc") / COMPILED).read_bytes())
    for file in described.file:
        if set(file.dependency) - {needed}:
            raise TypeError(f"{file.name} imports other files than {needed}")
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _pool()


def message(name: str) -> type[Message]:
    """Return the class of the message with this name in `PACKAGE`."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def values(given: Message) -> dict[str, Any]:
    """Return the fields that a message has, by name. A field that is not set, or a list without items, is left out."""
    return {field.name: _value(value) for field, value in given.ListFields()}


def _value(value: Any) -> Any:
    if isinstance(value, Message):
        return values(value)
    if isinstance(value, str | int | float):
        return value
    return dict(value) if isinstance(value, Mapping) else list(value)


def filled(name: str, fields: Mapping[str, Any]) -> Message:
    """Make a message from JSON values. It takes the fields that it has, and a null does not set a field."""
    return json_format.ParseDict(dict(fields), message(name)(), ignore_unknown_fields=True)
