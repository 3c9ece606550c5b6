"""What is learned: networks, their likelihoods, objectives."""
