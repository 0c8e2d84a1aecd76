"""How far a hard budget is overspent: holding before sending, beside counting afterwards."""
