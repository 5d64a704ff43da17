"""Measurements of the whole system on this machine: real processes, real HTTP, nothing faked but the training."""
