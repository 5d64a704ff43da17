"""A small language model: it guesses each character from the one before, and is measured by its perplexity.

tcsfeel agent examples.language_trainer:trainer --id edge-7 --server http://127.0.0.1:8080
tcsfeel train --name letters --goal perplexity:min --patience 5 --min-clients 1 --max-clients 10 --watch
"""

import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter

LETTERS = "abcdefgh"
REGULAR = 0.9  # of the letters


class BigramTrainer:
    def __init__(self, text: np.ndarray) -> None:
        cut = len(text) // 5
        self.test, self.train = (text[:cut][:-1], text[:cut][1:]), (text[cut:][:-1], text[cut:][1:])

    def initial_parameters(self) -> Parameters:
        return {"scores": np.zeros((len(LETTERS), len(LETTERS)), np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        (before, after), scores = self.train, parameters["scores"].copy()
        step = hyperparameter(task, "learning_rate", 1.0)
        for _ in range(hyperparameter(task, "local_epochs", 5)):
            error = np.exp(log_shares(scores[before]))
            error[np.arange(len(after)), after] -= 1
            np.add.at(scores, before, -step * error / len(after))
        loss = cross_entropy(scores, before, after)
        return FitResult({"scores": scores}, len(after), loss, metrics={"perplexity": float(np.exp(loss))})

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:  # noqa: ARG002  (all it needs is here)
        loss = cross_entropy(parameters["scores"], *self.test)
        return EvaluateResult(len(self.test[0]), loss, metrics={"perplexity": float(np.exp(loss))})

    def profile(self) -> Profile:
        return Profile(data_size=len(self.train[0]), elastic=True)


def log_shares(scores: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = scores - scores.max(axis=1, keepdims=True)
    shares: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shares


def cross_entropy(scores: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """In nats for a character."""
    return float(-log_shares(scores[before])[np.arange(len(after)), after].mean())


def trainer(seed: int = 0, length: int = 1000) -> BigramTrainer:
    """On a made-up text: nine times out of ten, a letter is followed by the next one of the alphabet."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(length) < REGULAR, 1, rng.integers(len(LETTERS), size=length))
    return BigramTrainer(np.cumsum(steps) % len(LETTERS))
