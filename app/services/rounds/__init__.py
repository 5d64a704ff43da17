"""Driving one round: `engine` takes its steps, `ledger` writes what came of each, the rest is what a step does."""
