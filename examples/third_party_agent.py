"""An agent written from the protocol's description alone, with nothing but Python's standard library.

    python third_party_agent.py --port 9001 --token SECRET

It trains softmax regression: float32 tensors ``weights`` [features, classes] and ``bias`` [classes], on made-up points
around one centre a class (an example of class k has ones at the features k, k + classes, ... and noise).
"""

import argparse
import hmac
import json
import math
import random
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Vector = list[float]
Rows = list[tuple[Vector, int]]
Tensors = dict[str, Vector]  # row by row


class Regression:
    """The model and its data, rows of (inputs, class); a fifth of them is only evaluated on."""

    def __init__(self, rows: Rows, features: int, classes: int) -> None:
        self.test, self.train, self.classes = rows[: len(rows) // 5], rows[len(rows) // 5 :], classes
        self.shapes = {"weights": [features, classes], "bias": [classes]}

    def initial(self) -> Tensors:
        return {name: [0.0] * math.prod(shape) for name, shape in self.shapes.items()}

    def shares(self, tensors: Tensors, inputs: Vector) -> Vector:
        weights, bias, count = tensors["weights"], tensors["bias"], self.classes
        scores = [bias[k] + sum(x * weights[j * count + k] for j, x in enumerate(inputs)) for k in range(count)]
        powers = [math.exp(score - max(scores)) for score in scores]
        return [power / sum(powers) for power in powers]

    def fit(self, tensors: Tensors, rate: float, epochs: int) -> Tensors:
        weights, bias = list(tensors["weights"]), list(tensors["bias"])
        for _ in range(epochs):
            random.shuffle(self.train)
            for inputs, label in self.train:
                shares = self.shares({"weights": weights, "bias": bias}, inputs)
                for k, share in enumerate(shares):
                    step = rate * (share - (k == label))
                    bias[k] -= step
                    for j, x in enumerate(inputs):
                        weights[j * self.classes + k] -= step * x
        return {"weights": weights, "bias": bias}

    def measure(self, tensors: Tensors, rows: Rows) -> dict[str, Any]:
        shares = [(self.shares(tensors, inputs), label) for inputs, label in rows]
        loss = -sum(math.log(share[label] + 1e-12) for share, label in shares) / len(shares)
        right = sum(max(range(self.classes), key=share.__getitem__) == label for share, label in shares)
        return {"num_examples": len(shares), "loss": loss, "accuracy": right / len(shares)}

    def encode(self, tensors: Tensors, metadata: dict[str, Any]) -> bytes:
        header: dict[str, Any] = {"__metadata__": {key: json.dumps(value) for key, value in metadata.items()}}
        block = b""
        for name, values in tensors.items():
            data = struct.pack(f"<{len(values)}f", *values)
            spec = {"dtype": "F32", "shape": self.shapes[name], "data_offsets": [len(block), len(block) + len(data)]}
            header[name], block = spec, block + data
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + block

    def decode(self, body: bytes) -> tuple[Tensors, dict[str, Any]]:
        (length,) = struct.unpack_from("<Q", body)
        header, block = json.loads(body[8 : 8 + length]), body[8 + length :]
        task = json.loads(header.pop("__metadata__")["task"])
        if {name: spec["shape"] for name, spec in header.items()} != self.shapes:
            raise ValueError(f"this agent trains the tensors {self.shapes}")
        tensors = {}
        for name, spec in header.items():
            data = block[slice(*spec["data_offsets"])]
            tensors[name] = list(struct.unpack(f"<{len(data) // 4}f", data))
        return tensors, task


class Job:
    def __init__(self) -> None:
        self.ready = threading.Event()
        self.status, self.body = 202, b""


class AgentServer(ThreadingHTTPServer):
    """`trained` counts how often each task id was really trained."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], model: Regression, token: str | None) -> None:
        super().__init__(address, Handler)
        self.model, self.token = model, token
        self.jobs: dict[str, Job] = {}
        self.trained: dict[str, int] = {}
        self.table, self.turn = threading.Lock(), threading.Lock()

    def work(self, name: str, job: Job, tensors: Tensors, task: dict[str, Any]) -> None:
        with self.turn:
            if self.jobs.get(name) is not job:
                return  # deleted while it waited
            self.trained[name] = self.trained.get(name, 0) + 1
            started = time.monotonic()
            try:
                extra, rows, fit = task.get("hyperparameters", {}), self.model.test, task["kind"] == "fit"
                if fit:
                    rate, epochs = extra.get("learning_rate", 0.05), extra.get("local_epochs", 1)
                    tensors, rows = self.model.fit(tensors, float(rate), int(epochs)), self.model.train
                result = self.model.measure(tensors, rows) | {"train_seconds": time.monotonic() - started}
                job.status, job.body = 200, self.model.encode(tensors if fit else {}, {"result": result})
            except Exception as error:  # noqa: BLE001  (whatever went wrong is the answer)
                job.status, job.body = 500, str(error).encode()
            job.ready.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AgentServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        token, given = self.server.token, self.headers.get("Authorization", "")
        _, kind, *rest = [*url.path.split("/"), ""]
        name = rest[0]
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            self.reply(401, b"a bearer token is needed")
        elif self.command == "GET" and kind == "healthz":
            self.reply(200)
        elif self.command == "GET" and kind == "model":
            self.reply(200, self.server.model.encode(self.server.model.initial(), {}))
        elif kind == "tasks" and name:
            self.task(name, body, float(parse_qs(url.query).get("wait", ["0"])[0]))
        else:
            self.reply(404, b"unknown path")

    def task(self, name: str, body: bytes, wait: float) -> None:
        server = self.server
        with server.table:
            job = server.jobs.get(name)
            if self.command == "DELETE":
                server.jobs.pop(name, None)
            elif self.command == "PUT" and job is None:
                try:
                    tensors, task = server.model.decode(body)
                except (ValueError, LookupError, struct.error) as error:
                    return self.reply(422, str(error).encode())
                job = server.jobs[name] = Job()
                threading.Thread(target=server.work, args=(name, job, tensors, task), daemon=True).start()
        if self.command == "DELETE":
            return self.reply(204)
        if job is None:
            return self.reply(404, b"unknown task")
        job.ready.wait(min(wait, 60.0))
        return self.reply(job.status, job.body)

    do_GET = do_PUT = do_DELETE = handle_any  # noqa: N815  (http.server's names)

    def reply(self, status: int, body: bytes = b"") -> None:
        kind = "application/vnd.safetensors"
        if status >= 400:  # noqa: PLR2004  (the errors of HTTP)
            kind, body = "application/problem+json", json.dumps({"status": status, "detail": body.decode()}).encode()
        self.send_response(status)
        if status == 401:  # noqa: PLR2004  (unauthorized)
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", kind)
        if status != 204:  # noqa: PLR2004  (no content has no length either)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's name)
        """Says nothing."""


def make_rows(samples: int, features: int, classes: int, seed: int) -> Rows:
    rng = random.Random(seed)  # noqa: S311  (data, not secrets)
    labels = [rng.randrange(classes) for _ in range(samples)]
    return [([float(j % classes == k) + rng.gauss(0, 0.5) for j in range(features)], k) for k in labels]


def make_server(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    features: int = 8,
    classes: int = 4,
    samples: int = 200,
    seed: int = 1,
) -> AgentServer:
    """Bound, not yet serving: call ``serve_forever`` in a thread; ``server_port`` is the port."""
    rows = make_rows(samples, features, classes, seed)
    return AgentServer((host, port), Regression(rows, features, classes), token)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--token", help="bearer token that every call must carry")
    for name, default in {"port": 0, "features": 8, "classes": 4, "samples": 200, "seed": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    server = make_server(**vars(parser.parse_args()))
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
