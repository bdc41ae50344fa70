"""Decisions: questions about a state, answered by the probabilities of labels instead of generated text."""
