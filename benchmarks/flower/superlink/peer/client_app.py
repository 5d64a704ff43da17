"""Add noise to the model."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

EXAMPLES = 100

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    del context
    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    noise = np.random.default_rng(0).normal(0, 1e-3, weights.size).astype(np.float32)
    metrics = MetricRecord({"num-examples": EXAMPLES, "loss": 0.5, "accuracy": 0.5})
    content = RecordDict({"arrays": ArrayRecord([weights + noise]), "metrics": metrics})
    return Message(content=content, reply_to=message)
