"""Figures against a reference, and the report."""
