"""Measure the whole system on this machine, with real processes and real HTTP. Only the training is simulated."""
