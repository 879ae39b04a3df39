"""Datasets, losses and the training loop."""
