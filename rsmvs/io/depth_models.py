"""Depth models of transformers: a folder or a hub model, with licence and checksum."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rsmvs.errors import ConfigError, ManifestError
from rsmvs.io.manifests import checksum


def read_depth_model(name: str, allow_random: bool = False) -> tuple[Any, dict[str, str]]:
    """(network, {"model", "license", "sha256"}).

    A folder is read as it is. Any other name is a hub model: it is looked for in the local cache, then fetched, and a
    missing network is told. Nothing is ever fetched unless a hub model is named.
    """
    try:
        from transformers import AutoModelForDepthEstimation
    except ImportError:
        raise ConfigError("rdm.model", "transformers is not installed", "pip install 'rsmvs[rdm]'") from None
    if Path(name).is_dir():
        _refuse_marked(Path(name), allow_random)
        return _loaded(Path(name), AutoModelForDepthEstimation, Path(name).name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ConfigError("rdm.model", f"{name} is no folder and no hub name", "give a folder, or a name like owner/model")
    return _from_hub(name, AutoModelForDepthEstimation)


def _from_hub(name: str, auto_model: Any) -> tuple[Any, dict[str, str]]:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        try:
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "README.md"]))
        except Exception as error:  # the hub's client raises errors of several libraries
            cause = f"is not in the local cache and cannot be fetched ({type(error).__name__})"
            raise ConfigError(name, cause, "connect to the network, or give the folder of a model in rdm.model") from None
    return _loaded(folder, auto_model, name)


def _loaded(folder: Path, auto_model: Any, name: str) -> tuple[Any, dict[str, str]]:
    """The network of a folder, whole: transformers itself fills what a folder lacks with random numbers and a warning."""
    remedy = "give a folder with config.json and all weights of a Depth-Anything model"
    try:
        network, loading = auto_model.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise ManifestError(folder, f"is no depth model ({str(error).splitlines()[0]})", remedy) from None
    except RuntimeError:  # its message is a table of them
        raise ManifestError(folder, "is no depth model (weights of other shapes than its config.json says)", remedy) from None
    if network.config.model_type != "depth_anything":
        raise ManifestError(folder, f"holds a model of the type '{network.config.model_type}'", remedy)
    lacking = sorted(loading["missing_keys"])
    if lacking:
        raise ManifestError(folder, f"lacks {len(lacking)} tensors of its network ({lacking[0]}, ...)", remedy)
    return network.eval(), {"model": name, "license": _license(folder), "sha256": _folder_sum(folder)}


def _license(folder: Path) -> str:
    """As the model card's front matter states it."""
    card = folder / "README.md"
    for line in card.read_text(errors="replace").splitlines() if card.is_file() else ():
        if line.startswith("license:"):
            return line.split(":", 1)[1].strip()
    return "not stated"


def _refuse_marked(folder: Path, allow_random: bool) -> None:
    """Random weights saved for tests carry a mark in their configuration."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    if config.get("random_weights") and not allow_random:
        raise ManifestError(folder, "holds random weights, made for tests", "give a trained model in rdm.model")


def _folder_sum(folder: Path) -> str:
    """SHA-256 over the names and checksums of the weight files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")) + sorted(folder.rglob("*.bin")):
        digest.update(f"{os.path.relpath(path, folder)} {checksum(path)}\n".encode())
    return digest.hexdigest()
