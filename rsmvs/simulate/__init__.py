"""Synthetic scenes with exact truth, for the demo, the tests and training."""
