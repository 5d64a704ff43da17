"""Run the whole system once: a control plane, agents with skewed data, and a training until it reaches its target.

The processes, the HTTP between them, the digits, the training and every accuracy are real. Only the devices are
simulated: each answer is held back for as long as a small device and its link would take. With shaped links, only
computing is simulated, and the bytes travel at the speeds of the links.
"""

from app.demo.errors import DemoFailed

TARGET = 0.963

__all__ = ["TARGET", "DemoFailed", "run"]


def run(
    *,
    strategy: str = "tcs-feel",
    agents: int = 50,
    keep: bool = False,
    seed: int = 1,
    target_accuracy: float = TARGET,
    transport: str = "push",
    topology: str = "star",
    links: str = "modelled",
    slower: float = 1.0,
) -> None:
    """Run the demo and print a report. With `keep`, everything goes on running until Ctrl-C.

    Args:
        strategy: the strategy by which the control plane selects clients.
        agents: the number of clients, 10 to 200.
        keep: whether everything goes on running after the training, and the files stay.
        seed: the seed of the split of the data, the network, the failures of the devices, and the training.
        target_accuracy: the share of the held-out digits, 0..1, that a model has to classify correctly.
        transport: ``push`` if the control plane calls the agents, ``pull`` if they ask it for their tasks.
        topology: ``star``, or ``relay`` if agents send their updates to other agents over cheap links between them.
        links: ``modelled`` if answers are held back as long as a link would take, or ``shaped`` if their bytes pass
            through proxies with the speeds and the latencies of the links.
        slower: how many times as long as usual a byte takes over a link, 1 or more.

    Raises:
        DemoFailed: the target was not reached, or something failed before.
    """
    try:
        from app.demo.job import Job, run_job  # noqa: PLC0415  (the subprocesses import this package too, without it)
    except ModuleNotFoundError as error:
        raise DemoFailed(f"the demo needs {error.name}: pip install 'tcsfeel-server[demo]'") from error
    if (transport, topology) == ("pull", "relay"):
        raise DemoFailed("agents that pull have no address for a relay: leave out --transport pull or --topology relay")
    job = Job(
        strategy=strategy,
        agents=agents,
        seed=seed,
        target_accuracy=target_accuracy,
        transport=transport,
        topology=topology,
        links=links,
        slower=slower,
    )
    run_job(job, keep=keep)
