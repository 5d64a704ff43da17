"""How one task reaches one agent, and its result comes back."""
