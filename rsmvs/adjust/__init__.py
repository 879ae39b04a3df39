"""Tie points and bundle adjustment. Sees arrays and cameras only."""
