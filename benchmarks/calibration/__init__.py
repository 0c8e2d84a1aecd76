"""Predicted probabilities of running out against what happened, on recorded and generated consumption."""
