"""Compile the descriptions of gRPC's messages, from which the server makes their classes, for ``make protos``."""

from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "proto"
COMPILED = ROOT / "app" / "rpc" / "topology.binpb"


def compile_to(target: Path) -> None:
    """Write the descriptions of all messages, as protoc compiles them. Raises `SystemExit` if a source is wrong."""
    sources = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))
    known = files("grpc_tools") / "_proto"
    status = protoc.main(["protoc", f"-I{SOURCES}", f"-I{known}", f"--descriptor_set_out={target}", *sources])
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    compile_to(COMPILED)
