"""Weights of networks: a safetensors file with a JSON card of the same stem beside it.

The card says what rebuilds the network (architecture), how it was trained (training), for which scenes (domain: gsd and
height span) and how well it did (metrics), and carries the checksum of the weights. Weights without training are
refused unless asked for: they exist for tests only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmvs.errors import ManifestError
from rsmvs.io.manifests import atomic, checksum, read_json, write_json

if TYPE_CHECKING:
    import torch

FORMAT = 1
EMBEDDED = Path(__file__).resolve().parents[1] / "weights"
RDM = "rdm-tiny"  # the embedded model of relative depth
_KEYS = {"format", "trained", "architecture", "training", "domain", "metrics", "sha256"}


@dataclass(frozen=True, eq=False)
class Weights:
    """tensors: the state dict. card: see the module's text."""

    tensors: dict[str, torch.Tensor]
    card: dict[str, Any]
    path: str


def embedded() -> list[str]:
    """Names of the embedded weights."""
    return sorted(p.stem for p in EMBEDDED.glob("*.safetensors"))


def find_weights(name: str) -> Path:
    """A safetensors file by its path, or an embedded one by its name."""
    path = Path(name)
    if path.suffix == ".safetensors":
        return path
    if name not in embedded():
        known = ", ".join(embedded()) or "none"
        raise ManifestError(name, "is no embedded model", f"embedded: {known}; or give the path of a .safetensors file")
    return EMBEDDED / f"{name}.safetensors"


def read_card(name: str, allow_random: bool = False) -> tuple[Path, dict[str, Any]]:
    """Path and card of weights; ManifestError when one is missing, they do not belong together, or were never trained."""
    path = find_weights(name)
    if not path.exists():
        raise ManifestError(path, "does not exist", "check the name of the weights")
    card = read_json(path.with_suffix(".json"))
    missing = sorted(_KEYS - set(card)) if isinstance(card, dict) else sorted(_KEYS)
    if missing or card["format"] != FORMAT:
        raise ManifestError(path.with_suffix(".json"), f"is no card of format {FORMAT} (missing: {missing})", "train again")
    if card["sha256"] != checksum(path):
        raise ManifestError(path, "does not match the checksum in its card", "restore both files")
    if not card["trained"] and not allow_random:
        raise ManifestError(path, "holds random weights, made for tests", "give trained weights")
    return path, card


def read_weights(name: str, allow_random: bool = False) -> Weights:
    """Weights and card; errors as in `read_card`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, card = read_card(name, allow_random)
    try:
        return Weights(load_file(path), card, str(path))
    except SafetensorError as error:
        raise ManifestError(path, f"is not a safetensors file ({error})", "restore it") from None


def write_weights(path: str | Path, tensors: dict[str, torch.Tensor], card: dict[str, Any]) -> None:
    """card: without format and checksum, which are added."""
    from safetensors.torch import save

    path = Path(path)
    with atomic(path) as part:
        part.write_bytes(save({name: t.detach().cpu().contiguous() for name, t in sorted(tensors.items())}))
        digest = checksum(part)
    write_json(path.with_suffix(".json"), {**card, "format": FORMAT, "sha256": digest})
