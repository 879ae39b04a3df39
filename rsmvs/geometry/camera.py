"""Any camera from its JSON form."""

from __future__ import annotations

from typing import Any

from rsmvs.errors import CameraError
from rsmvs.geometry.pinhole import Pinhole
from rsmvs.geometry.rpc import RPC
from rsmvs.types import Camera


def camera_from_dict(values: dict[str, Any], where: object = "camera") -> Camera:
    """Inverse of `Camera.to_dict`; `where` names the file in errors."""
    if values.get("kind") == RPC.kind:
        return RPC.from_dict(values, where)
    if values.get("kind") == Pinhole.kind:
        return Pinhole.from_dict(values, where)
    raise CameraError(where, f"camera kind {values.get('kind')!r} is not known", "expected 'rpc' or 'pinhole'")
