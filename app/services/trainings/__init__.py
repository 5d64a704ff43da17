"""The requests of users about trainings and their models."""
