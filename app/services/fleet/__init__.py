"""The clients: who they are, how they fare, and what their links cost."""
