"""The compiled messages, their source, and their conversion."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, json_format

from app.rpc.messages import filled, message, values
from scripts.protos import COMPILED, compile_to
from tcsfeel.contract.outcomes import ReportOutcome
from tcsfeel.contract.selections import PlanSelection, WeightsIn


def described(path: Path) -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())


def test_the_compiled_messages_are_those_of_the_source(tmp_path: Path) -> None:
    compile_to(tmp_path / "now.binpb")
    assert described(tmp_path / "now.binpb") == described(COMPILED), "run `make protos` and commit what it writes"


def fields(name: str) -> set[str]:
    return {field.name for field in message(name).DESCRIPTOR.fields}


def test_requests_have_the_fields_of_rest() -> None:
    compared = {"compare"}  # strategies are compared over REST
    assert fields("OptimizeTopologyRequest") - {"with_skipped"} == set(PlanSelection.model_fields) - compared
    assert fields("Weights") == set(WeightsIn.model_fields)
    mine = {"client_id" if name == "client_id" else name for name in fields("UpdateClientPerformanceRequest")}
    assert mine - {"client_id", "new_reliability"} == set(ReportOutcome.model_fields) - {"reliability"}


def test_only_fields_that_are_set_are_values() -> None:
    request = message("OptimizeTopologyRequest")(min_clients=0, exclude=["a"], parameters={"p": 1.5})
    assert values(request) == {"min_clients": 0, "exclude": ["a"], "parameters": {"p": 1.5}}
    assert values(message("OptimizeTopologyRequest")(weights={"compute": 0.0})) == {"weights": {"compute": 0.0}}


def test_a_null_does_not_set_a_field_and_unknown_ones_are_left_out() -> None:
    made = filled("Measured", {"latency": None, "bandwidth": 8, "no_held_out_data_at": "2026-11-30T12:00:00Z"})
    assert values(made) == {"bandwidth": 8.0}


def test_a_field_of_another_type_is_an_error() -> None:
    with pytest.raises(json_format.ParseError, match="bandwidth"):
        filled("Measured", {"bandwidth": "fast"})
