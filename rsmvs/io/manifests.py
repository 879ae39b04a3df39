"""JSON manifests and atomic files.

A product appears under its final name only when it is complete: it is written beside it and renamed. A manifest's
bytes depend on its content alone (sorted keys, shortest exact floats, no clock, no host name).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rsmvs.errors import ConfigError, ManifestError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to; renamed to `path` when the block ends well, removed when it does not.

    What a killed writer of the same file left behind goes first: nobody else may write it now.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    left = re.compile(rf"\.\d+\.{re.escape(path.stem)}(\.parts)?{re.escape(path.suffix)}")
    for sibling in path.parent.iterdir():
        if left.fullmatch(sibling.name):
            sibling.unlink(missing_ok=True)
    part = path.with_name(f".{os.getpid()}.{path.name}")  # keeps the suffix: drivers choose by it
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno and Path(error.filename or part).name.startswith(f".{os.getpid()}."):
            error.filename = str(path)  # the name that its readers know
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text)


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    with atomic(path) as part:
        part.write_bytes(content)


def json_text(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def line_of(content: Any) -> str:
    """A part of a large manifest, on one line."""
    return json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))


def write_json(path: str | Path, content: Any) -> None:
    write_text(path, json_text(content))


def read_json(path: str | Path) -> Any:
    """Content of a manifest; ManifestError when it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ManifestError(path, "does not exist", "run the stage that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(path, f"is not valid JSON ({error})", "delete it and run again") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Keys of a YAML file; ConfigError when it is missing or holds none."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(path, "does not exist", "check the path") from None
    except yaml.YAMLError as error:
        raise ConfigError(path, f"is not valid YAML ({error})", "mend the line it names") from None
    if not isinstance(values, dict):
        raise ConfigError(path, "holds no keys", "give sections and options")
    return values


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
