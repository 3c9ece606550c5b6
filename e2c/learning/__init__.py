"""How a model is learned."""
