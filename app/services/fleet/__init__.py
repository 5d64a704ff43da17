"""The registered clients, their health, and the costs of their links."""
