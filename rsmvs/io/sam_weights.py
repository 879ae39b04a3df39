"""Weights of segment-anything models: original checkpoints, or folders of transformers."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from rsmvs.errors import ManifestError

if TYPE_CHECKING:
    import torch

# from the names of transformers to those of the original checkpoints, applied one after another
_RENAMED = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm([12])\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (
        r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.transformer\..*)layer_norm(\d|_final_attn)\.", r"\1norm\2."),
)
_HEAD = re.compile(
    r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)\.)(proj_in|proj_out|layers\.(\d+))\."
)


def read_sam(path: str | Path) -> dict[str, torch.Tensor]:
    """SAM's weights by the names of the original checkpoints. `path`: a .pth file, or a folder of transformers.

    Raises ManifestError where it is neither.
    """
    path = Path(path)
    tensors = _from_folder(path) if path.is_dir() else _from_checkpoint(path)
    if not any(name.startswith("image_encoder.") for name in tensors):
        raise ManifestError(path, "holds no SAM image encoder", "give sam_vit_*.pth, or a folder saved by transformers")
    return tensors


def _from_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, UnpicklingError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ManifestError(path, f"is no checkpoint ({cause})", "give sam_vit_*.pth, or a folder of transformers") from None


def _from_folder(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ManifestError(folder, "has no .safetensors files", "save the model with save_pretrained")
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        tensors.update(load_file(file))
    renamed = {_original(name): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in renamed.items() if name.startswith(("image_", "prompt_", "mask_"))}


def _original(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    head = _HEAD.match(name)
    if head is None:
        return name
    layer = {"proj_in": "0", "proj_out": "2"}.get(head[2]) or str(int(head[3]) + 1)
    return f"{head[1]}layers.{layer}.{name[head.end() :]}"
