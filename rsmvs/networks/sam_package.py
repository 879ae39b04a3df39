"""The networks of the package segment_anything, without its dependence on torchvision.

The package's own start imports torchvision for its mask generator, of which nothing is needed here and which has no
build beside a CPU torch on some systems. Its subpackage `modeling` needs torch alone: it is imported beneath a parent
that has not run. Whoever has imported the whole package before, or does so afterwards, sees no difference.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

from rsmvs.errors import ConfigError

_PARENT, _NETWORKS = "segment_anything", "segment_anything.modeling"


def sam_modeling() -> Any:
    """The module `segment_anything.modeling`; ConfigError where the package is not installed."""
    if _NETWORKS in sys.modules or _PARENT in sys.modules:
        return import_module(_NETWORKS) if _PARENT in sys.modules else sys.modules[_NETWORKS]
    spec = find_spec(_PARENT)
    if spec is None:
        raise ConfigError("heights.model", "segment_anything is not installed", "pip install segment-anything")
    sys.modules[_PARENT] = module_from_spec(spec)
    try:
        return import_module(_NETWORKS)
    finally:
        del sys.modules[_PARENT]
