"""Images that are too large for the memory, and images on a web server: windows are read, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window as RioWindow
from workflow_runs import pending, write_config

from rsmvs.cli.run import check
from rsmvs.config import build, load_config
from rsmvs.geometry.rpc import RPC
from rsmvs.io.manifests import read_json
from rsmvs.io.raster import opened, read_image
from rsmvs.io.rpc_files import tags_from_rpc
from rsmvs.io.views import read_views
from rsmvs.options import AdjustOptions, AreaOptions, HeightsOptions, ImageOptions, ReferenceOptions, SelectOptions
from rsmvs.stages.adjust import adjust_views
from rsmvs.stages.heights import predict_heights
from rsmvs.stages.views import index_views, select_views
from rsmvs.types import Window

SIDE = 40000  # px: 3.2 GB of 16-bit pixels


@pytest.fixture(scope="module")
def giant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse image with a camera, and data in a band across its middle."""
    path = tmp_path_factory.mktemp("giant") / "giant.tif"
    poly = np.zeros((4, 20))
    poly[0, 1], poly[2, 2], poly[1, 0], poly[3, 0] = 1.0, -1.0, 1.0, 1.0
    middle = (SIDE - 1) / 2
    camera = RPC(np.array([middle, middle, 9.0, 47.0, 500.0]), np.array([middle, middle, 0.13, 0.09, 500.0]), poly)
    profile = {"width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, bigtiff="YES", nodata=0, **profile) as dst:
        strip = np.random.default_rng(0).integers(1, 2000, (512, 4096)).astype(np.uint16)
        for col in range(0, SIDE - 4096, 4096):
            dst.write(strip, 1, window=RioWindow(col, SIDE // 1024 * 512, 4096, 512))  # type: ignore[call-arg]
        dst.rpcs = tags_from_rpc(camera)
    return path


def test_an_image_of_40000_pixels_is_never_whole_in_memory(giant: Path) -> None:
    code = f"""
from pathlib import Path
from rsmvs.io.raster import read_image
from rsmvs.options import ImageOptions
from rsmvs.stages.views import describe_image
from rsmvs.types import Window
view = describe_image(ImageOptions(path={str(giant)!r}))
def peak():  # MB, of this program alone: the usual figure begins with that of the process that started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
before = peak()
for k in range(24):
    read_image(view, Window(1600 * k, {SIDE} // 2 - 800, 1536, 1536))
print(view.width, before, peak())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    width, indexing, reading = map(int, said.split())
    assert width == SIDE and indexing < 700 and reading < 700, said  # MB, the interpreter and its libraries included


@dataclass
class Served:
    """url: of the folder; sizes: bytes of the answers."""

    url: str = ""
    sizes: list[int] = field(default_factory=list)


class Ranges(SimpleHTTPRequestHandler):
    """Files in parts, as object stores give them."""

    served: Served

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(found[1]), min(int(found[2]), len(content) - 1)) if found else (0, len(content) - 1)
        self.send_response(206 if found else 200)
        self.send_header("Accept-Ranges", "bytes")
        if found:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(content[first : last + 1])
        self.served.sizes.append(last + 1 - first)

    def log_message(self, *_: Any) -> None:
        """Nothing to be said."""


@pytest.fixture
def server(tiny_scene: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The images of the tiny scene on a web server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Served()
    handler = type("Handler", (Ranges,), {"served": served})
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tiny_scene / "images")))
    served.url = f"/vsicurl/http://127.0.0.1:{web.server_address[1]}"
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    yield served
    web.shutdown()
    thread.join()


def test_images_on_a_server_pass_through_untouched(server: Served, two_tiles: dict[str, Any], tmp_path: Path) -> None:
    names = [Path(image["path"]).name for image in two_tiles["images"]]
    images = [{"path": f"{server.url}/{name}"} for name in names]
    path = write_config(tmp_path, two_tiles, images=images)
    config = load_config(path)
    assert [image.path for image in config.images] == [image["path"] for image in images]
    check(config)
    assert pending(path)["index_views"] == 1

    area = build(AreaOptions, two_tiles["area"], "test")
    index_views(config.images, area, tmp_path / "views.json")
    views = read_views(tmp_path / "views.json")
    assert [v.path for v in views] == [image["path"] for image in images] and not any(v.fingerprint for v in views)
    adjust_views(tmp_path / "views.json", [], AdjustOptions(mode="none"), tmp_path / "adjusted" / "views.json")
    select_views(tmp_path / "adjusted" / "views.json", area, SelectOptions(), ReferenceOptions(), tmp_path / "plan.json")
    plan = sorted((tmp_path / "tiles").glob("*/plan.json"))[0]
    predict_heights(plan, area, HeightsOptions(max_views=1), tmp_path / "heights" / "index.json")
    index = read_json(tmp_path / "heights" / "index.json")
    assert index["status"] == "ok"
    with opened(tmp_path / "heights" / index["layers"][0]["file"]) as src:
        assert np.isfinite(src.read(1)).mean() > 0.9


def test_a_window_of_a_remote_image_costs_a_part_of_it(server: Served, giant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rsmvs.stages.views import describe_image

    view = describe_image(ImageOptions(path=str(giant)))
    monkeypatch.setattr(Ranges, "translate_path", lambda self, path: str(giant))
    remote = replace(view, path=f"{server.url}/giant.tif", fingerprint="")
    window = Window(9000, SIDE // 2 - 300, 800, 600)
    assert np.array_equal(read_image(remote, window), read_image(view, window), equal_nan=True)
    assert 0 < sum(server.sizes) < giant.stat().st_size / 4
