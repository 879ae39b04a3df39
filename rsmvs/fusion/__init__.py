"""From per-view heights to one surface: consistency, voted labels, gridding."""
