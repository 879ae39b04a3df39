"""Matchers and the networks they are made of. They see windows and warp fields, never a camera or a file."""
