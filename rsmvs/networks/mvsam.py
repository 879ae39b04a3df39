"""MVSAM: segmentation of the reference from all views (the upper branch of MVSR3D, figure 2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rsmvs.networks import sam
from rsmvs.networks.eca import ECA, epipolar_distance, fundamental_matrix, virtual_points
from rsmvs.networks.egspg import Prompts
from rsmvs.networks.lora import adapt
from rsmvs.networks.relief import relief
from rsmvs.semantic_options import Mvsr3dOptions


class MVSAM(nn.Module):
    """SAM with a mask per class: encoder adapted (LoRA), prompt encoder and decoder trained whole.

    The paper's "one ECA after another" shares its weights over the sources: any number of them can come.
    """

    def __init__(self, options: Mvsr3dOptions) -> None:
        super().__init__()
        self.options = options
        self.image_encoder = sam.image_encoder(options.sam)
        self.prompt_encoder: Any = sam.prompt_encoder(options.sam)
        self.mask_decoder: Any = sam.mask_decoder(options.sam, len(options.classes))
        with torch.random.fork_rng(devices=[]):  # rows of an ablation start alike in all that they share
            self.eca = ECA(options.sam.channels, options.epipolar_scale) if options.eca else None
            self.hint = nn.Conv2d(options.sam.channels, len(options.classes), 1) if options.hint else None
            if options.encoder == "lora":
                adapt(self.image_encoder, options.lora_rank)
        if options.encoder == "frozen":
            self.image_encoder.requires_grad_(False)
        for unused in (self.prompt_encoder.mask_downscaling, self.mask_decoder.iou_prediction_head):
            unused.requires_grad_(False)  # no mask prompts, no choice among masks

    def embed(self, image_b1hw: torch.Tensor, z_b1hw: torch.Tensor | None = None) -> torch.Tensor:
        """(b, c, h, w) embedding of one view; its sides are padded to whole tokens. z: its heights, for their relief."""
        patch = self.options.sam.patch
        h, w = image_b1hw.shape[-2:]
        bands = image_b1hw if z_b1hw is None else torch.cat([image_b1hw, relief(z_b1hw)], 1)
        return sam.embed(self.image_encoder, F.pad(bands, (0, -w % patch, 0, -h % patch)))

    def fuse(self, embeddings: list[torch.Tensor], fields: list[torch.Tensor], z_range_b2: torch.Tensor) -> torch.Tensor:
        """Emd_img of equation (8): the reference's embedding with the sources folded in, one after another."""
        x = embeddings[0]
        if self.eca is None:
            return x
        for source, field in zip(embeddings[1:], fields, strict=True):
            with torch.no_grad():
                matched = virtual_points(field, z_range_b2, self.options.virtual_points, self.options.seed)
                distance = epipolar_distance(fundamental_matrix(*matched), _size(x), _size(source)).float()
            x = self.eca(x, source, self._position(x), self._position(source), distance)
        return x

    def _position(self, maps_bchw: torch.Tensor) -> torch.Tensor:
        """SAM's own positional encoding of the tokens, (1, c, h, w)."""
        with torch.autocast(maps_bchw.device.type, enabled=False):
            return self.prompt_encoder.pe_layer(_size(maps_bchw)).unsqueeze(0)

    def hinted(self, embedding_bchw: torch.Tensor, size: tuple[int, int]) -> torch.Tensor | None:
        """(b, classes, h, w) logits of the embedding itself: for its training alone."""
        if self.hint is None:
            return None
        logits = F.interpolate(self.hint(embedding_bchw).float(), scale_factor=self.options.sam.patch, mode="bilinear")
        return logits[..., : size[0], : size[1]]

    def decode(self, embedding_bchw: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(b, classes, h, w) logits without prompts. size: of the reference in pixels."""
        found = [self._masks(e, None, None, size) for e in embedding_bchw.split(1)]
        return torch.cat(found)

    def decode_prompted(
        self, embedding_bchw: torch.Tensor, prompts: Prompts, unprompted_bchw: torch.Tensor
    ) -> torch.Tensor:
        """Equation (16): every prompted class from a pass with its own points, the others from the pass without."""
        size, logits = _size(unprompted_bchw), unprompted_bchw.clone()
        for i, embedding in enumerate(embedding_bchw.split(1)):
            masks = self._masks(embedding, prompts.points[i], prompts.labels[i], size)
            for k, c in enumerate(prompts.classes):
                logits[i, c] = masks[k, c]
        return logits

    def _masks(
        self, embedding_1chw: torch.Tensor, points_pn2: torch.Tensor | None, labels_pn: torch.Tensor | None,
        size: tuple[int, int],
    ) -> torch.Tensor:
        """(p, classes, h, w) logits of p sets of points, (1, ...) without any; equations (15), (16)."""
        points = None if points_pn2 is None else (points_pn2, labels_pn)
        self.prompt_encoder.image_embedding_size = tokens = _size(embedding_1chw)
        patch = self.options.sam.patch
        self.prompt_encoder.input_image_size = (tokens[0] * patch, tokens[1] * patch)
        with torch.autocast(embedding_1chw.device.type, enabled=False):
            sparse, dense = self.prompt_encoder(points=points, boxes=None, masks=None)
        masks, _ = self.mask_decoder(embedding_1chw, self._position(embedding_1chw), sparse, dense, multimask_output=True)
        scale = patch / 4  # the decoder's masks have four cells a token
        full = F.interpolate(masks.float(), scale_factor=scale, mode="bilinear", align_corners=False)
        return full[..., : size[0], : size[1]]


def _size(maps: torch.Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]
