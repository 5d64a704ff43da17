"""The rules of federated learning over unequal links: pure values and functions, no I/O, no clock, no framework."""
