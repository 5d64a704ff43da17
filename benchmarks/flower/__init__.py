"""Run Flower's side of the benchmarks in a virtual environment of its own. Nothing here imports our code."""
