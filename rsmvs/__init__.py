"""rsmvs: digital surface models, semantic maps and classified point clouds from satellite and aerial images.

Importing the package loads neither torch nor numba; each module says what it needs.
"""

__version__ = "0.1.0"
