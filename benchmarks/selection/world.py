"""Draw the network and the devices of a benchmark from a seed.

Clients stand in clusters in a plane. Their links to the server have 10 to 100 Mbps and 10 to 200 ms, their processors 1
to 10 GFLOPS, and they finish a task with a probability of 0.7 to 1. Two clients within 250 m of each other have a link
whose rate falls with the distance (Shannon's capacity at 15 MHz, with the path loss exponent 2.5).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from tcsfeel.network.connectivity import Connectivity

Floats = npt.NDArray[np.float64]

MODEL_BYTES = 1_000_000  # of one transfer, independent of the size of the trained model
MEGABITS = 8 * MODEL_BYTES / 1e6
SIDE, SPREAD, PER_CLUSTER = 1000.0, 60.0, 12  # meters, meters, clients
REACH, NEAR = 250.0, 30.0  # meters: the longest link, and the distance below which a link is not faster
MEGAHERTZ, SIGNAL_TO_NOISE, PATH_LOSS = 15.0, 1e4, 2.5
MEAN_GFLOPS = 5.5


@dataclass(frozen=True, slots=True)
class World:
    """N clients with their devices and links.

    Attributes:
        client_ids: the ids by position.
        bandwidth: (N,) the bandwidth to the server in Mbps.
        latency: (N,) the latency to the server in ms.
        compute: (N,) the speed of the devices in GFLOPS.
        reliability: (N,) the probability that an update arrives.
        train_seconds: (N,) the seconds of one fit, which are 1 for a client with mean data and mean speed.
        server_seconds: (N,) the seconds of one transfer of a model over the link to the server.
        links: the costs of the links between clients in s/MB.
    """

    client_ids: tuple[str, ...]
    bandwidth: Floats
    latency: Floats
    compute: Floats
    reliability: Floats
    train_seconds: Floats
    server_seconds: Floats
    links: Connectivity

    @classmethod
    def of(cls, samples: npt.NDArray[np.intp], rng: np.random.Generator) -> Self:
        """Draw the devices and links of clients with these numbers of samples (N,)."""
        count = len(samples)
        client_ids = tuple(f"edge-{number:03}" for number in range(1, count + 1))
        clusters = max(3, count // PER_CLUSTER)
        centres = rng.uniform(0, SIDE, (clusters, 2))
        places = centres[rng.integers(0, clusters, count)] + rng.normal(0, SPREAD, (count, 2))
        bandwidth, latency = rng.uniform(10, 100, count), rng.uniform(10, 200, count)
        compute, reliability = rng.uniform(1, 10, count), rng.uniform(0.7, 1.0, count)
        return cls(
            client_ids,
            bandwidth,
            latency,
            compute,
            reliability,
            train_seconds=samples / samples.mean() * MEAN_GFLOPS / compute,
            server_seconds=MEGABITS / bandwidth + latency / 1000,
            links=Connectivity.from_matrix(client_ids, _between(places)),
        )

    def working(self, shares: Floats) -> Self:
        """Return the world in which each client trains for a share (N,) of its seconds."""
        return replace(self, train_seconds=self.train_seconds * shares)


def _between(places: Floats) -> Floats:
    """Return the costs (N, N) in s/MB of the links between clients at places (N, 2), inf if there is no link."""
    distance = np.linalg.norm(places[:, np.newaxis] - places, axis=2)
    ratio = SIGNAL_TO_NOISE * (NEAR / np.maximum(distance, NEAR)) ** PATH_LOSS
    rate = MEGAHERTZ * np.log2(1 + ratio)
    seconds = MEGABITS / rate + 0.003 + 2e-5 * distance
    seconds[distance > REACH] = np.inf
    np.fill_diagonal(seconds, 0)
    return np.asarray(seconds)
