"""Driving one round: `engine` takes its steps, `ledger` writes their results, the rest is what a step does."""
