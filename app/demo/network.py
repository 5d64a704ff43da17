"""Simulate devices and the links between them, like a fleet of microcontrollers in a few places of a town.

The devices stand in clusters on a square kilometre. Two devices within reach have a direct link, which is faster if
they are nearer to each other. Each device has its own link to the server, and computes at a fraction of a GFLOPS. The
clients register with these values, and take as long to answer as they say. So a round takes about a second, and time is
not scaled.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

SIDE = 1000.0  # meters, the side of the square in which the clusters lie
SPREAD = 60.0  # meters, the standard deviation of a device from the centre of its cluster, along each axis
REACH = 300.0  # meters, the longest link between two devices
FASTEST_LINK = 100.0  # Mbps between two devices at the same place
HALF_SPEED = 100.0  # meters, after which a link has half of that speed
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
    """A simulated device, with the units of a client's profile: Mbps, ms, GFLOPS, 0..1. `site` numbers its cluster."""

    site: int
    bandwidth: float
    latency: float
    compute: float
    reliability: float

    def without_link(self) -> "Device":
        """Return the device with a link that takes no time, for models that travel over a real one."""
        return replace(self, bandwidth=math.inf, latency=0.0)

    def transfer_seconds(self, parameters: int) -> float:
        """Return the seconds that a model with this many parameters takes over the link to the server, one way."""
        return parameters * BYTES_PER_PARAMETER * 8 / 1e6 / self.bandwidth + self.latency / 1000

    def fit_seconds(self, parameters: int, samples: int, epochs: int) -> float:
        """Return the seconds from when the server sends a task until the update is back at the server."""
        operations = FIT_OPERATIONS * parameters * samples * epochs
        return 2 * self.transfer_seconds(parameters) + operations / 1e9 / self.compute

    def evaluate_seconds(self, parameters: int, samples: int) -> float:
        """Return the seconds from when the server sends a task until the measurement, a few bytes, is back."""
        operations = FORWARD_OPERATIONS * parameters * samples
        return self.transfer_seconds(parameters) + self.latency / 1000 + operations / 1e9 / self.compute


@dataclass(frozen=True, slots=True)
class Network:
    """N devices, and the costs (N, N) of the links between them in s/MB, infinite where there is no link."""

    devices: tuple[Device, ...]
    costs: Floats

    @property
    def sites(self) -> int:
        """Return the number of clusters."""
        return len({device.site for device in self.devices})

    def slower(self, factor: float) -> "Network":
        """Return the network with links that take `factor` times as long for each byte. Latencies stay the same."""
        devices = tuple(replace(device, bandwidth=device.bandwidth / factor) for device in self.devices)
        return Network(devices, self.costs * factor)

    def speed_between(self, one: int, other: int) -> float:
        """Return the MB/s of the link between two devices by position, or of the slowest link if they have none."""
        cost = self.costs[one, other]
        return float(1 / (cost if np.isfinite(cost) else self.costs[np.isfinite(self.costs)].max()))


def network(size: int, rng: np.random.Generator) -> Network:
    """Draw a network of `size` devices."""
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
    """Return the costs (N, N) in s/MB between devices at positions (N, 2) in meters.

    The cost is 8 / Mbps, and the speed at the distance d is 1 / (1 + (d / d_half)^2) of the full speed.
    """
    apart = positions[:, np.newaxis] - positions[np.newaxis]
    distances = np.hypot(apart[..., 0], apart[..., 1])
    costs = np.where(distances <= REACH, 8 / FASTEST_LINK * (1 + (distances / HALF_SPEED) ** 2), math.inf)
    np.fill_diagonal(costs, 0.0)
    return costs


def log_uniform(limits: tuple[float, float], size: int, rng: np.random.Generator) -> Floats:
    """Draw values (size,) between the limits, whose logarithms are uniformly distributed."""
    low, high = limits
    return np.asarray(np.exp(rng.uniform(math.log(low), math.log(high), size)))
