"""A PyTorch module in a federation. PyTorch is not a dependency of this project: ``pip install torch``.

    tcsfeel agent examples.pytorch_trainer:trainer --id edge-7 --server http://127.0.0.1:8080

The parameters are the module's ``state_dict``. Hyperparameters: ``local_epochs`` (1), ``learning_rate`` (0.05),
``batch_size`` (32), ``proximal_mu`` (0). FedNova and SCAFFOLD work with it too.
"""

from typing import Any

import numpy as np

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("this example needs PyTorch: pip install torch") from error

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter, task_cancelled


class TorchTrainer:
    """Trains a module that gives class scores; `inputs` are float32, `labels` int64, one row an example."""

    def __init__(self, module: Any, inputs: Any, labels: Any) -> None:
        cut = max(1, len(inputs) // 5)
        self.module = module
        self.test, self.train = (inputs[:cut], labels[:cut]), (inputs[cut:], labels[cut:])

    def initial_parameters(self) -> Parameters:
        return self._state()

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        pull = hyperparameter(task, "proximal_mu", 0.0)
        batch = hyperparameter(task, "batch_size", 32)
        self._load(parameters)
        anchors = [weight.detach().clone() for weight in self.module.parameters()]
        optimizer = torch.optim.SGD(self.module.parameters(), lr=hyperparameter(task, "learning_rate", 0.05))
        inputs, labels = self.train
        self.module.train()
        steps = 0
        for _ in range(hyperparameter(task, "local_epochs", 1)):
            for rows in torch.randperm(len(inputs)).split(batch):
                if task_cancelled():
                    raise RuntimeError("no longer wanted")
                loss = nn.functional.cross_entropy(self.module(inputs[rows]), labels[rows])
                drift = sum(
                    ((weight - anchor) ** 2).sum()
                    for weight, anchor in zip(self.module.parameters(), anchors, strict=True)
                )
                optimizer.zero_grad()
                (loss + pull / 2 * drift).backward()
                for name, weight in self.module.named_parameters():
                    if name in task.correction:
                        weight.grad += torch.from_numpy(task.correction[name].copy())
                optimizer.step()
                steps += 1
        return FitResult(self._state(), len(inputs), *self._measure(self.train), num_steps=steps)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del task
        self._load(parameters)
        return EvaluateResult(len(self.test[0]), *self._measure(self.test))

    def profile(self) -> Profile:
        return Profile(data_size=len(self.train[0]), data_distribution=np.bincount(self.train[1].numpy()), elastic=True)

    def _state(self) -> Parameters:
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.module.state_dict().items()}

    def _load(self, parameters: Parameters) -> None:
        # the arrays are read-only, which torch.from_numpy warns about: hand over copies
        self.module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in parameters.items()})

    def _measure(self, data: tuple[Any, Any]) -> tuple[float, float]:
        inputs, labels = data
        self.module.eval()
        with torch.no_grad():
            scores = self.module(inputs)
        loss = nn.functional.cross_entropy(scores, labels)
        return float(loss), float((scores.argmax(dim=1) == labels).float().mean())


def trainer(seed: int = 0, samples: int = 200, features: int = 8, classes: int = 4) -> TorchTrainer:
    """A small network on points of `classes` clouds; put your own module and tensors here."""
    torch.manual_seed(seed)
    labels = torch.randint(classes, (samples,))
    inputs = nn.functional.one_hot(labels, features).float() + 0.3 * torch.randn(samples, features)
    module = nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, classes))
    return TorchTrainer(module, inputs, labels)
