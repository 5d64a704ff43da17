"""The connectivity matrix in requests and responses."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from tcsfeel.contract.fields import ClientId, Instant, RequestModel, ResponseModel, wrong_fields

MATRIX_EXAMPLE: dict[str, Any] = {
    "client_ids": ["edge-7", "edge-8", "edge-9"],
    "costs": [[0, 0.05, None], [0.05, 0, 0.4], [None, 0.4, 0]],
}
EDGES_EXAMPLE: dict[str, Any] = {"edges": [{"source": "edge-7", "target": "edge-8", "cost": 0.05}]}

# A cost's range is checked with the cell's name. A large matrix may be wrong in every cell: the first one is enough.
Cost = Annotated[float, Field(description="Cost of the link in seconds per megabyte")]
Row = Annotated[list[Cost | None], Field(fail_fast=True)]


class EdgeIn(RequestModel):
    """One undirected link."""

    source: ClientId
    target: ClientId
    cost: Cost


class EdgeChange(RequestModel):
    """One link to set, or to remove if `cost` is `null`."""

    source: ClientId
    target: ClientId
    cost: Cost | None


class ReplaceConnectivity(RequestModel):
    """A whole matrix, as rows of costs or as a list of edges. `null` means that there is no link."""

    model_config = {"json_schema_extra": {"examples": [MATRIX_EXAMPLE, EDGES_EXAMPLE]}}

    client_ids: Annotated[list[ClientId], Field(max_length=50_000, fail_fast=True)] | None = None
    costs: Annotated[list[Row], Field(max_length=50_000, fail_fast=True)] | None = None
    edges: Annotated[list[EdgeIn], Field(max_length=10_000_000, fail_fast=True)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "ReplaceConnectivity":
        matrix = {"client_ids": self.client_ids, "costs": self.costs}
        if self.edges is None:
            rules = {(name,): "is required, unless edges are given" for name, value in matrix.items() if value is None}
        else:
            rules = {(name,): "cannot be combined with edges" for name, value in matrix.items() if value is not None}
        if rules:
            raise wrong_fields(rules.items())
        return self


class ChangeConnectivity(RequestModel):
    """Links to set, or to remove if their `cost` is `null`. All other links stay."""

    model_config = {
        "json_schema_extra": {"examples": [{"edges": [{"source": "edge-7", "target": "edge-8", "cost": 0.08}]}]}
    }

    edges: Annotated[list[EdgeChange], Field(min_length=1, max_length=1_000_000, fail_fast=True)]


class ConnectivityVersion(ResponseModel):
    """The version that a change made. The `ETag` has the same number."""

    version: int


class ConnectivityOut(ResponseModel):
    """The matrix. `null` means that there is no link."""

    version: int
    client_ids: list[str]
    costs: list[list[float | None]]


class MeasuredLinkOut(ResponseModel):
    """A link as relays have measured it, in seconds per megabyte. `claimed` is null if the matrix does not follow."""

    source: str
    target: str
    claimed: float | None
    measured: float
    measurements: int
    measured_at: Instant


class TopologyOut(ResponseModel):
    """Figures about the registered clients and their links."""

    num_clients: int
    num_edges: int
    avg_degree: float
    components: int
    bridges: Annotated[int, Field(description="Links whose removal would split a component")]
    avg_bandwidth: float
    avg_latency: float
    total_data: int
    avg_reliability: float
    betweenness: dict[str, float]
    measured_links: list[MeasuredLinkOut] = []
