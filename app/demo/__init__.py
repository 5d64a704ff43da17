"""The main job from nothing: a control plane, agents with real skewed data, a training to its target.

Everything is real but the devices: the processes, the HTTP between them, the digits, the training and every accuracy.
The devices are models of small ones, and each answer is held back as long as its device and its link would take.
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
) -> None:
    """Run the demo and report on stdout; with `keep` leave it running until Ctrl-C.

    Args:
        strategy: how the control plane selects clients.
        agents: how many clients there are, 10 to 200.
        keep: leave everything running, and its files behind.
        seed: of the data's split, the network, the devices' failures and the training.
        target_accuracy: fraction of the held-out digits at which the training is done.

    Raises:
        DemoFailed: the target was not reached, or something broke on the way.
    """
    try:
        from app.demo.job import Job, run_job  # noqa: PLC0415  (the subprocesses import this package too, and need none of it)
    except ModuleNotFoundError as error:
        raise DemoFailed(f"the demo needs {error.name}: pip install 'tcsfeel-server[demo]'") from error
    run_job(Job(strategy=strategy, agents=agents, seed=seed, target_accuracy=target_accuracy), keep=keep)
