"""Flower's side of the rounds, which runs in a virtual environment of its own: nothing here imports ours."""
