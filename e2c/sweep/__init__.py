"""Sweeps: many runs of a grid, computed by an existing engine, and their results together."""
