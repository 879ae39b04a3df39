"""Cameras, tiles and windows, and the warp between them. Knows arrays only: no files, no torch outside `warp_torch`."""
