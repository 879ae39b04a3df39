"""Errors that a user can act on.

Every one is a single line: what was wrong, where, and what to do about it.
"""

DAMAGED = "damaged: "  # begins a line of a job's log: a file of the run that has to be made again


class RsmvsError(Exception):
    """Wrong input. `where` names the file, key or value; `cause` what is wrong with it; `remedy` what to do."""

    def __init__(self, where: object, cause: str, remedy: str) -> None:
        self.where, self.cause, self.remedy = str(where), cause, remedy
        super().__init__(self.where, cause, remedy)

    def __str__(self) -> str:
        return " ".join(f"{self.where}: {self.cause}; {self.remedy}".split())


class ConfigError(RsmvsError):
    """A key or value of the configuration."""


class CameraError(RsmvsError):
    """A camera that is missing, unreadable or inconsistent with its image."""


class ImageError(RsmvsError):
    """An image that cannot be used."""


class CoverageError(RsmvsError):
    """Images, area of interest or reference that do not overlap."""


class ManifestError(RsmvsError):
    """An intermediate file that is missing, truncated or of another format version."""
