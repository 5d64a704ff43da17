"""Devices and the links between them: what a microcontroller-class fleet in a few places of a town might look like.

Devices stand in clusters on a square kilometre. Two that are within reach talk directly, the faster the nearer they
are. Each has a link to the server of its own, and computes at a fraction of a GFLOPS. These profiles are what the
clients register with, and how long they take to answer: a round takes about a second without any scaling of time.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SIDE = 1000.0  # m, of the square that the clusters lie in
SPREAD = 60.0  # m, standard deviation of a device's distance from its cluster's centre along each axis
REACH = 300.0  # m, beyond which two devices have no link
FASTEST_LINK = 100.0  # Mbps between two devices side by side
HALF_SPEED = 100.0  # m at which half of that is left
DEVICES_IN_CLUSTER = 12

BANDWIDTH = (4.0, 100.0)  # Mbps to the server
LATENCY = (5.0, 100.0)  # ms to the server
COMPUTE = (0.02, 0.2)  # GFLOPS
RELIABILITY = (0.88, 1.0)  # share of the tasks that succeed

FIT_OPERATIONS = 6  # per parameter and sample: 2 forward, 4 backward
FORWARD_OPERATIONS = 2
BYTES_PER_PARAMETER = 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Device:
    """Units as in the client's profile: Mbps, ms, GFLOPS, 0..1. `site` is the number of its cluster."""

    site: int
    bandwidth: float
    latency: float
    compute: float
    reliability: float

    def transfer_seconds(self, parameters: int) -> float:
        """Seconds until a model of so many parameters has crossed the link to the server, one way."""
        return parameters * BYTES_PER_PARAMETER * 8 / 1e6 / self.bandwidth + self.latency / 1000

    def fit_seconds(self, parameters: int, samples: int, epochs: int) -> float:
        """Seconds from a task on its way to the device to an update back at the server."""
        operations = FIT_OPERATIONS * parameters * samples * epochs
        return 2 * self.transfer_seconds(parameters) + operations / 1e9 / self.compute

    def evaluate_seconds(self, parameters: int, samples: int) -> float:
        """Seconds from a task on its way to the device to a measurement, of hardly any bytes, back at the server."""
        operations = FORWARD_OPERATIONS * parameters * samples
        return self.transfer_seconds(parameters) + self.latency / 1000 + operations / 1e9 / self.compute


@dataclass(frozen=True, slots=True)
class Network:
    """N devices and the (N, N) costs in s/MB of the links between them, inf where there is none."""

    devices: tuple[Device, ...]
    costs: Floats

    @property
    def sites(self) -> int:
        """How many clusters there are."""
        return len({device.site for device in self.devices})


def network(size: int, rng: np.random.Generator) -> Network:
    """A network of `size` devices."""
    centres = rng.uniform(0, SIDE, (max(3, size // DEVICES_IN_CLUSTER), 2))
    sites = rng.permutation(np.arange(size) % len(centres))
    positions = centres[sites] + rng.normal(0, SPREAD, (size, 2))
    columns = (
        log_uniform(BANDWIDTH, size, rng),
        log_uniform(LATENCY, size, rng),
        log_uniform(COMPUTE, size, rng),
        rng.uniform(*RELIABILITY, size),
    )
    devices = tuple(
        Device(int(site), *(float(value) for value in values)) for site, *values in zip(sites, *columns, strict=True)
    )
    return Network(devices, link_costs(positions))


def link_costs(positions: Floats) -> Floats:
    """(N, N) s/MB between devices at (N, 2) positions in m: 8 / Mbps, with 1 / (1 + (d / d_half)^2) of full speed."""
    apart = positions[:, np.newaxis] - positions[np.newaxis]
    distances = np.hypot(apart[..., 0], apart[..., 1])
    costs = np.where(distances <= REACH, 8 / FASTEST_LINK * (1 + (distances / HALF_SPEED) ** 2), math.inf)
    np.fill_diagonal(costs, 0.0)
    return costs


def log_uniform(limits: tuple[float, float], size: int, rng: np.random.Generator) -> Floats:
    """(size,) values between the limits, as likely within a factor of any of them."""
    low, high = limits
    return np.asarray(np.exp(rng.uniform(math.log(low), math.log(high), size)))
