"""Sweeps: many runs of a grid, on an engine that is there already, and what they show together."""
