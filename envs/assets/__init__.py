"""MJCF models: masses, lengths, limits and time steps live here and nowhere else."""
