"""Segment-anything's image encoder, prompt encoder and mask decoder, composed for windows of any size.

Kirillov et al., ICCV 2023; the networks are those of the package segment_anything, with their names of parameters, so
that published checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from rsmvs.errors import ConfigError
from rsmvs.networks.sam_package import sam_modeling
from rsmvs.semantic_options import SamOptions

_NATIVE = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_OF_MASKS = tuple(f"mask_decoder.{n}" for n in ("mask_tokens.", "iou_prediction_head.", "output_hypernetworks_mlps."))
_LOW_RANK = (".qkv.up.", ".qkv.down.")


def image_encoder(o: SamOptions) -> nn.Module:
    return sam_modeling().ImageEncoderViT(
        img_size=o.positions * o.patch, patch_size=o.patch, embed_dim=o.width, depth=o.depth, num_heads=o.heads,
        out_chans=o.channels, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=o.attention_window,
        global_attn_indexes=o.global_blocks,
    )


def prompt_encoder(o: SamOptions) -> nn.Module:
    side = o.positions
    return sam_modeling().PromptEncoder(o.channels, (side, side), (side * o.patch, side * o.patch), mask_in_chans=16)


def mask_decoder(o: SamOptions, masks: int) -> nn.Module:
    """masks: how many it gives at once, beside SAM's own single mask."""
    modeling = sam_modeling()
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=o.channels, num_heads=8, mlp_dim=o.decoder_width)
    return modeling.MaskDecoder(transformer_dim=o.channels, transformer=transformer, num_multimask_outputs=masks)


def embed(encoder: nn.Module, images_bchw: torch.Tensor) -> torch.Tensor:
    """(b, c, h / patch, w / patch) embedding of images normalised to mean 0 and deviation 1.

    One band stands for three. Positional embeddings are interpolated to the window's tokens; the relative ones of
    the attention are, by the package.
    """
    x = encoder.patch_embed(images_bchw.expand(-1, 3, -1, -1))
    position = encoder.pos_embed
    if position.shape[1:3] != x.shape[1:3]:
        position = F.interpolate(position.permute(0, 3, 1, 2), size=x.shape[1:3], mode="bicubic", align_corners=False)
        position = position.permute(0, 2, 3, 1)
    x = x + position
    for block in encoder.blocks:
        x = block(x)
    return encoder.neck(x.permute(0, 3, 1, 2))


def load_sam(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Put SAM's weights (names of the original checkpoints) into modules image_encoder, prompt_encoder, mask_decoder.

    Adapted projections keep their low-rank part. Returns the names that found no place, those of masks beyond the classes.
    ConfigError where the weights are those of another size of SAM: half a foundation is none.
    """
    own = network.state_dict()
    renamed = {_adapted(k, own): v for k, v in tensors.items() if k.startswith(_NATIVE)}
    fitting = {k: v for k, v in renamed.items() if k in own and own[k].shape == v.shape}
    left = sorted(set(renamed) - set(fitting))
    bare = [k for k in own if k.startswith("image_encoder.") and k not in fitting and not any(part in k for part in _LOW_RANK)]
    if wrong := sorted({k for k in left if not k.startswith(_OF_MASKS)} | set(bare)):
        there, here = (tuple(t[wrong[0]].shape) if wrong[0] in t else "absent" for t in (renamed, own))
        cause = f"does not fit network.sam in {len(wrong)} tensors: {wrong[0]} is {there} in it and {here} in the network"
        raise ConfigError("sam", cause, "choose the preset of its size (vit_b, vit_l, vit_h), or set network.sam")
    network.load_state_dict({**own, **fitting})
    return left


def _adapted(name: str, own: Mapping[str, torch.Tensor]) -> str:
    wrapped = name.replace(".qkv.", ".qkv.base.")
    return wrapped if wrapped in own else name
