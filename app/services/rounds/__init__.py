"""Driving one round: `engine` holds the transitions, the other modules what happens between them."""
