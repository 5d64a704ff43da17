"""Describe what links cost: the connectivity of clients, and what can be read from it."""
