"""The decisions, pure: no await, no clock, no chance, no I/O, no third party. Time and randomness come in as arguments."""
