"""The agent protocol: what crosses the wire between the control plane and an agent, and nothing else."""
