"""Define the agent protocol: the values that the control plane and agents send to each other."""
