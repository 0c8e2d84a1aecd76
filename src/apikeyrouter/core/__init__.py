"""The decisions, pure: no await, clock, chance, I/O or third party. Time and randomness come in as arguments."""
