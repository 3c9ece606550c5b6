"""Measurements of quality and speed: each a command, its results JSON with their provenance."""
