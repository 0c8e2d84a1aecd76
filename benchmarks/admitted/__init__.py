"""How much of what an omniscient planner could admit the engine admits, one request at a time."""
