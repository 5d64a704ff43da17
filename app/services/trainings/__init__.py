"""What users ask of trainings and their models."""
