"""Cameras for other programs: those of a views.json, adjusted or not, as standard files."""

from __future__ import annotations

from pathlib import Path

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.rpc_fit import refit_rpc
from rsmvs.io.rpc_tags import write_tagged_image
from rsmvs.io.rpc_text import write_rpc_txt, write_rpcm_json
from rsmvs.io.views import read_views
from rsmvs.types import View

_REFIT_PX = 0.05  # worse than this, an RPC is no stand-in for the camera


def export_cameras(views_json: str | Path, folder: str | Path, *, images: bool = False) -> list[str]:
    """Per view `<id>_RPC.TXT` (GDAL, QGIS, ASP, OTB) and `<id>.json` (rpcm, s2p); with `images` also `<id>.tif`, a copy of
    the image with the camera in its tags (CARS, s2p). All at full precision. Returns the names of the files.

    A camera that is no RPC is replaced by one fitted to it; CameraError where none fits.
    """
    folder, written = Path(folder), []
    for view in read_views(views_json):
        rpc = _as_rpc(view)
        write_rpc_txt(folder / f"{view.id}_RPC.TXT", rpc)
        write_rpcm_json(folder / f"{view.id}.json", rpc)
        written += [f"{view.id}_RPC.TXT", f"{view.id}.json"]
        if images:
            write_tagged_image(view.path, folder / f"{view.id}.tif", rpc)
            written.append(f"{view.id}.tif")
    return written


def _as_rpc(view: View) -> RPC:
    if isinstance(view.camera, RPC):
        return view.camera
    rpc, worst = refit_rpc(view.camera.project, view.camera.localise, view.width, view.height, view.camera.height_range)
    if worst > _REFIT_PX:
        raise CameraError(view.path, f"no RPC follows its {view.camera.kind} camera better than {worst:.2f} px", "leave it out")
    return rpc
