"""How well a controller does in a world."""
