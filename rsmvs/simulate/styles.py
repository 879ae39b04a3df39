"""Kinds of places: what a scene is drawn from. A style is a distribution, not a place: two seeds give two towns."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

from rsmvs.errors import ConfigError


@dataclass(frozen=True)
class Style:
    """Pairs are ranges to draw from. Lengths in metres.

    blocks: weights of what fills a block between streets; length, depth: of the blocks; streets: widths to choose from;
    bend: how far streets stray from straight; storeys: mean; pitched: share of pitched roofs; trees per hectare;
    forest: share of the land under wood; tall: mean height of trees; crown: radius of broadleaved ones, relative to it;
    rough: how rugged crowns are; water: weights of none, pond, river, coast; decks: elevated roads, expected number;
    aridity 0 to 1; ground: the material between things.
    """

    blocks: dict[str, float]
    length: tuple[float, float] = (60, 110)
    depth: tuple[float, float] = (38, 65)
    streets: tuple[float, ...] = (7.0, 8.0, 10.0)
    bend: tuple[float, float] = (0, 10)
    storeys: tuple[float, float] = (1.5, 3)
    pitched: tuple[float, float] = (0.4, 1.0)
    trees: tuple[float, float] = (10, 50)
    forest: tuple[float, float] = (0.0, 0.1)
    tall: tuple[float, float] = (6.0, 11.0)
    crown: tuple[float, float] = (0.22, 0.4)
    rough: tuple[float, float] = (1.0, 1.0)
    relief: tuple[float, float] = (1, 15)
    water: tuple[float, float, float, float] = (0.6, 0.25, 0.15, 0.0)
    decks: float = 0.1
    aridity: tuple[float, float] = (0.0, 0.4)
    ground: tuple[str, ...] = ("grass",)
    roofs: tuple[str, ...] = ("tiles", "tiles", "slate", "brown tiles", "metal")


# Grown trees: broad crowns that close to one rugged canopy, as lidar shows them in parks, old suburbs and woods.
MATURE: dict[str, Any] = {"tall": (9.0, 19.0), "crown": (0.26, 0.5), "rough": (0.3, 1.0)}

STYLES: dict[str, Style] = {
    "small town": Style(  # low, open, wide roofs: a place that any matcher should get right
        {"houses": 3, "slabs": 2, "hall": 2.5, "lot": 0.7, "park": 0.3, "field": 0.8}, length=(70, 120), depth=(50, 75),
        bend=(0, 8), storeys=(0.8, 1.6), trees=(2, 7), forest=(0.0, 0.0), relief=(2, 12), water=(0.5, 0.5, 0.0, 0.0), decks=0.0,
    ),
    "suburb": Style({"houses": 8, "terrace": 1, "park": 0.7, "lot": 0.4, "hall": 0.2}, trees=(10, 50), bend=(0, 22), **MATURE),
    "town": Style(
        {"houses": 3, "terrace": 3, "slabs": 1, "courtyard": 1, "hall": 0.7, "park": 0.5, "lot": 0.5, "field": 0.4},
        storeys=(2, 4), trees=(10, 35), decks=0.2, **MATURE,
    ),
    "old town": Style(
        {"courtyard": 5, "terrace": 4, "dense": 4, "square": 0.7, "church": 0.5}, length=(38, 75), depth=(30, 55),
        streets=(5.0, 6.0, 8.0), bend=(6, 16), storeys=(2.5, 5), pitched=(0.8, 1.0), trees=(2, 14),
    ),
    "blocks": Style(
        {"slabs": 6, "towers": 2, "hall": 0.5, "park": 1, "lot": 1}, length=(90, 160), depth=(70, 110),
        streets=(9.0, 12.0, 16.0), storeys=(5, 10), pitched=(0.0, 0.1), trees=(20, 60), decks=0.25,
        roofs=("bitumen", "gravel", "white membrane", "concrete"),
    ),
    "downtown": Style(
        {"towers": 5, "courtyard": 2, "dense": 2, "lot": 1, "square": 0.6, "park": 0.4}, length=(70, 120), depth=(60, 90),
        streets=(12.0, 16.0, 20.0), bend=(0, 3), storeys=(7, 16), pitched=(0.0, 0.1), trees=(2, 15), decks=0.4,
        roofs=("bitumen", "gravel", "white membrane", "concrete", "metal", "glass"), ground=("concrete",),
    ),
    "industry": Style(
        {"hall": 6, "tanks": 1.5, "lot": 1.5, "yard": 1.5, "field": 0.7}, length=(110, 200), depth=(80, 140),
        streets=(9.0, 12.0), bend=(0, 6), storeys=(2, 4), pitched=(0.1, 0.4), trees=(1, 12), decks=0.3,
        roofs=("metal", "white membrane", "bitumen", "blue metal", "rust"), ground=("concrete", "gravel", "grass"),
    ),
    "desert town": Style(
        {"dense": 5, "houses": 3, "square": 0.5, "lot": 0.5, "field": 0.8}, length=(50, 100), depth=(34, 60),
        bend=(0, 14), storeys=(1.5, 3.5), pitched=(0.0, 0.1), trees=(0, 8), aridity=(0.6, 1.0), ground=("sand", "soil"),
        roofs=("adobe", "adobe", "concrete", "white membrane"), water=(0.95, 0.05, 0.0, 0.0),
    ),
    "village": Style(
        {"houses": 3, "terrace": 0.5, "field": 6, "orchard": 1.2, "church": 0.2}, length=(90, 200), depth=(55, 130),
        streets=(5.0, 6.0), bend=(8, 30), relief=(4, 40), trees=(4, 22), forest=(0.0, 0.25), **MATURE,
    ),
    "fields": Style(
        {"field": 9, "orchard": 1.5, "houses": 0.3, "hall": 0.2}, length=(120, 260), depth=(80, 180), streets=(4.0, 5.0),
        bend=(0, 25), relief=(2, 40), trees=(0, 8), forest=(0.0, 0.3), aridity=(0.0, 0.9), ground=("meadow", "grass", "soil"),
    ),
    "forest": Style(
        {"wild": 9, "field": 1, "houses": 0.2}, length=(200, 400), depth=(150, 300), streets=(4.0,), bend=(15, 50),
        relief=(10, 80), trees=(5, 40), forest=(0.35, 0.8), ground=("meadow", "grass"), **MATURE,
    ),
    "mountains": Style(
        {"wild": 9, "field": 0.6, "houses": 0.4}, length=(200, 400), depth=(150, 300), streets=(4.0,), bend=(20, 60),
        relief=(80, 400), trees=(4, 50), forest=(0.1, 0.6), ground=("meadow", "rock", "soil"), water=(0.8, 0.0, 0.2, 0.0),
        aridity=(0.0, 0.9),
    ),
    "waterfront": Style(
        {"houses": 3, "slabs": 1.5, "hall": 1.5, "park": 1, "lot": 1, "towers": 0.5}, storeys=(2, 5), trees=(8, 40),
        relief=(1, 8), water=(0.0, 0.0, 0.4, 0.6), decks=0.6, bend=(0, 16), **MATURE,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One draw of a style: numbers instead of ranges."""

    blocks: dict[str, float]
    length: tuple[float, float]
    depth: tuple[float, float]
    streets: tuple[float, ...]
    roofs: tuple[str, ...]
    tall: tuple[float, float]
    crown: tuple[float, float]
    rough: tuple[float, float]
    bend: float
    storeys: float
    pitched: float
    trees: float
    forest: float
    relief: float
    water: str
    decks: int
    aridity: float
    ground: str


def draw_place(name: str, rng: random.Random) -> Place:
    """A place of the style `name`, or of any style for 'random'."""
    if name == "random":
        name = rng.choice(sorted(STYLES))
    if name not in STYLES:
        raise ConfigError("style", f"'{name}' is not known", f"choose from random, {', '.join(STYLES)}")
    style = STYLES[name]
    drawn: dict[str, Any] = {
        f.name: rng.uniform(*getattr(style, f.name))
        for f in dataclasses.fields(style)
        if f.name in ("bend", "storeys", "pitched", "trees", "forest", "relief", "aridity")
    }
    water = rng.choices(("none", "pond", "river", "coast"), style.water)[0]
    decks = int(rng.random() < style.decks) + int(rng.random() < style.decks / 3)
    kept = ("blocks", "length", "depth", "streets", "roofs", "tall", "crown", "rough")
    same: dict[str, Any] = {n: getattr(style, n) for n in kept}
    return Place(**same, **drawn, water=water, decks=decks, ground=rng.choice(style.ground))
