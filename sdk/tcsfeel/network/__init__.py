"""Describe the links between clients: their costs, and statistics about them."""
