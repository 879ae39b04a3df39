"""Options of MVSR3D: heights and classes in one network (Huang et al., TGRS 2025), and of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rsmvs.network_options import PRESETS, CascadeOptions, DataOptions, TrainOptions
from rsmvs.options import opt, section
from rsmvs.types import CLASS_NAMES

DFC19 = CLASS_NAMES
SPACENET4 = ("ground", "foliage", "building", "other")


@dataclass(frozen=True)
class SamOptions:
    """Dimensions of a segment-anything model; the defaults are vit_b."""

    width: int = opt(768, "of the encoder's tokens", low=8, high=2048)
    depth: int = opt(12, "blocks of the encoder", low=1, high=64)
    heads: int = opt(12, "attention heads of a block", low=1, high=64)
    global_blocks: tuple[int, ...] = opt((2, 5, 8, 11), "blocks that attend to the whole window", low=0, high=63)
    patch: int = opt(16, "side of a token", unit="px", low=4, high=64)
    attention_window: int = opt(14, "side of the windows of the other blocks, in tokens", low=2, high=64)
    positions: int = opt(64, "side of the stored grid of positional embeddings, in tokens; else interpolated", low=2, high=128)
    channels: int = opt(256, "of the embedding, the prompts and the decoder; multiple of 32", low=32, high=1024)
    decoder_width: int = opt(2048, "of the decoder's MLPs", low=16, high=8192)


@dataclass(frozen=True)
class Mvsr3dOptions:
    """Architecture of MVSR3D; stands in the card of its weights."""

    sam: SamOptions = section(SamOptions, "the segmentation branch's foundation")
    cascade: CascadeOptions = section(CascadeOptions, "the height branch")
    classes: tuple[str, ...] = opt(DFC19, "classes told apart", choices=CLASS_NAMES)
    heights: bool = opt(True, "with the height branch; without: MVSAM alone, the single task")
    encoder: str = opt("lora", "what of the image encoder is trained", choices=("lora", "full", "frozen"))
    lora_rank: int = opt(8, "rank of the adaptation of queries and values", low=1, high=256)
    eca: bool = opt(True, "epipolar cross attention: fuse the sources' embeddings into the reference's, equations (1)-(8)")
    epipolar_scale: float = opt(1.0, "unit of distances to epipolar lines, in tokens; 1: as published", low=0.01, high=1000)
    virtual_points: int = opt(1000, "correspondences from which the fundamental matrix is estimated", low=8, high=100000)
    sam_fg: bool = opt(True, "add the encoder's embeddings to the features of the height branch, equations (11)-(13)")
    sam_fg_width: int = opt(64, "of its U-Net", low=4, high=512)
    egspg: bool = opt(True, "prompt the decoder with points chosen by the heights, equations (14)-(16)")
    foreground: int = opt(1200, "points of a class in a window of 512 x 512 px or more, else fewer", low=1, high=10000)
    background: int = opt(600, "points of other classes, likewise", low=1, high=10000)
    relief: bool = opt(False, "show the encoder the form of the heights in two of its three bands; not as published")
    hint: bool = opt(False, "learn the classes from the embedding itself, too: it learns faster; not as published")
    prompts: str = opt("decoder", "where the points' classes come from in training: a first pass of the decoder, or the truth",
                       choices=("decoder", "truth"))
    seed: int = opt(0, "of the virtual points and the prompts", low=0)

    @property
    def from_prior(self) -> bool:
        """Whether it wants the heights of semi-global matching to start from."""
        return self.cascade.prior == "sgm" if self.heights else self.relief


VIT_L = SamOptions(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23))
VIT_H = SamOptions(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31))
TINY_SAM = SamOptions(width=96, depth=4, heads=3, global_blocks=(1, 3), positions=32, attention_window=8, channels=64,
                      decoder_width=128)
_TINY_CASCADE = replace(PRESETS["small"], feature_channels=(8, 12, 16), regularizer_widths=(6, 6, 4))
SEMANTIC_PRESETS = {
    "vit_b": Mvsr3dOptions(),
    "vit_l": Mvsr3dOptions(sam=VIT_L),
    "vit_h": Mvsr3dOptions(sam=VIT_H),
    "tiny": Mvsr3dOptions(sam=TINY_SAM, cascade=_TINY_CASCADE, encoder="full", sam_fg_width=16, foreground=120, background=60),
    "tiny_refine": Mvsr3dOptions(sam=TINY_SAM, cascade=PRESETS["refine"], encoder="full", sam_fg_width=16, foreground=120,
                                 background=60),
}


@dataclass(frozen=True)
class JointConfig:
    """A training of MVSR3D or MVSAM, as a YAML file holds it."""

    network: Mvsr3dOptions = section(Mvsr3dOptions, "architecture")
    training: TrainOptions = section(TrainOptions, "optimisation")
    data: DataOptions = section(DataOptions, "samples")
    class_weight: float = opt(20.0, "alpha of equation (17): weight of the classes' loss", low=0)
    height_weight: float = opt(1.0, "beta of equation (17): weight of the heights' loss", low=0)
    sam: str = opt("", "weights of SAM to start from: an original checkpoint (.pth), or a folder of transformers", path=True)
    initial: str = opt("", "weights of MVSR3D to start from (safetensors); what they lack starts at random", path=True)
