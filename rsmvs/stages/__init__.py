"""File-level functions, one a rule: paths and options in, one product out."""
