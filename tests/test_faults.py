"""What goes wrong in a run ends in the right products, or in a line that says why: nothing is lost in silence."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faults import FAULTS, holders, spoil_the_weights, starve_a_job, time_out
from workflow_runs import RSMVS, pending, products, run, write_config

from rsmvs.cli.run import check
from rsmvs.cli.workflow import held
from rsmvs.config import as_dict, load_config
from rsmvs.errors import ConfigError, ImageError, ManifestError
from rsmvs.io.raster import read_band, read_image
from rsmvs.io.views import read_views
from rsmvs.io.weights import read_card
from rsmvs.networks.matcher import Heights
from rsmvs.options import HeightsOptions
from rsmvs.resources import TRIALS
from rsmvs.stages import heights as heights_stage
from rsmvs.stages import refinement
from rsmvs.stages.tile import read_plan, reference_window
from rsmvs.types import Window

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A finished run of its own, with the file times of the original."""
    shutil.copytree(finished / "out", tmp_path / "out", copy_function=shutil.copy2)
    return tmp_path


def test_damaged_intermediates_are_made_again_by_the_same_command(finished: Path, copied: Path, two_tiles: dict[str, Any]):
    first, second = sorted((copied / "out" / "tiles").iterdir())
    layer = next((first / "heights").glob("*.tif"))
    os.truncate(layer, layer.stat().st_size // 2)
    (first / "consistent" / "index.json").unlink()  # its maker meets the damaged layer
    spoiled = bytearray((second / "dsm.tif").read_bytes())
    spoiled[len(spoiled) // 2] ^= 0x5A
    (second / "dsm.tif").write_bytes(spoiled)  # the mosaic meets this one
    (copied / "out" / "plan.json").write_text('{"tiles": [')  # and the report this one
    said = run(write_config(copied, two_tiles))
    assert said.returncode == 0, said.stderr
    assert products(copied) == products(finished)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda plan: plan.write_text("{")], ids=["lost", "damaged"])
def test_a_plan_of_a_tile_is_made_again(spoil: Any, finished: Path, copied: Path, two_tiles: dict[str, Any]):
    """The workflow does not know these files as such."""
    plan = min((copied / "out" / "tiles").glob("*/plan.json"))
    right = plan.read_bytes()
    spoil(plan)
    said = run(write_config(copied, two_tiles))
    assert said.returncode == 0, said.stderr
    assert plan.read_bytes() == right and products(copied) == products(finished)


def test_a_tile_that_always_dies_is_given_up_and_tried_next_time(finished: Path, copied: Path, two_tiles: dict[str, Any]):
    config, out = write_config(copied, two_tiles), copied / "out"
    victim = min(path.name for path in (out / "tiles").iterdir())
    undo(out / "tiles" / victim, "heights/index.json")
    with dying(out / "logs" / "predict_heights" / f"{victim}.log", TRIALS - 1) as deaths:
        said = run(config)
    ledger = json.loads((out / "products" / "ledger.json").read_text())
    assert len(deaths) == TRIALS - 1 and ledger["counts"] == {"ok": 1, "empty": 0, "failed": 1}
    assert ledger["tiles"][victim]["reason"] == "given up: trial 3 was killed (out of memory, or stopped from outside)"
    assert said.returncode == 1 and "1 failed" in said.stdout and said.stderr.startswith("error: more tiles failed")
    assert run(config).returncode == 0
    assert products(copied) == products(finished)


CHAIN = ("plan.json", "heights/index.json", "consistent/index.json", "ledger.json")


def undo(tile: Path, first: str) -> None:
    """Take away what a tile has from a stage on, and the run's ledger: without it nobody would miss the others."""
    (tile.parents[1] / "products" / "ledger.json").unlink(missing_ok=True)
    for name in CHAIN[CHAIN.index(first) :]:
        (tile / name).unlink(missing_ok=True)  # a fault before took what nobody missed


@contextmanager
def dying(log: Path, times: int) -> Iterator[list[int]]:
    """Kill the process that writes a log as soon as it appears, so many times."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set() and len(killed) < times:
            for pid in set(holders(log)) - set(killed):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def hanging_job(folder: Path, trial: int) -> subprocess.CompletedProcess[str]:
    """A tile's job whose stage hangs, with a time limit of half a second."""
    job = {"rule": "predict_heights", "threads": 1, "log": "job.log", "output": ["index.json"], "input": [],
           "resources": {"trial": trial, "runtime": 0.5 / 60 if trial < TRIALS else 30}}  # fmt: skip
    script = f"""
import sys, time
from types import SimpleNamespace
sys.path.insert(0, {str(ROOT / "workflow_scripts")!r})
from _job import tile_job
snakemake = SimpleNamespace(**{job!r}, wildcards=SimpleNamespace(tile="x0_y0"))
tile_job(snakemake, lambda trial: time.sleep(60))
"""
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=30)


def test_a_stage_that_hangs_is_ended_and_its_tile_given_up(tmp_path: Path):
    for trial in range(1, TRIALS):
        assert hanging_job(tmp_path, trial).returncode == -signal.SIGALRM and not (tmp_path / "index.json").exists()
        (tmp_path / "job.log").unlink()  # as Snakemake does before it tries again
    assert hanging_job(tmp_path, TRIALS).returncode == 0
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["status"] == "failed" and index["reason"].startswith("given up: trial 3 took longer than 0:00:00")
    assert (tmp_path / "job.log").read_text().count("most recent call first") == TRIALS - 1  # all trials are there to be read
    assert not (tmp_path / ".job.log").exists()


@pytest.mark.parametrize("smaller", [False, True])
def test_want_of_memory_halves_the_windows(smaller: bool, finished: Path, monkeypatch: pytest.MonkeyPatch):
    plan = read_plan(next((finished / "out" / "tiles").glob("*/plan.json")))
    view = plan.views[next(iter(plan.sources))]
    area = load_config(finished / "my.yaml").area
    window = reference_window(plan, view, area)
    assert window is not None
    monkeypatch.setattr(heights_stage, "_LEAST_WINDOW", 32)
    limit = max(window.width, window.height) // 4
    seen: list[int] = []

    def match_window(plan: Any, view: Any, part: Window, match: Any, rdm: Any) -> Heights:
        seen.append(max(part.width, part.height))
        if seen[-1] > limit:
            raise MemoryError("no more")
        height = np.add.outer(np.arange(part.row, part.row + part.height), np.arange(part.col, part.col + part.width))
        return replace(Heights.none(part.shape), height=height.astype(np.float32))

    monkeypatch.setattr(heights_stage, "match_window", match_window)
    monkeypatch.setattr(heights_stage, "_OVERLAP", 4)
    found = heights_stage._match_in_memory(plan, view, window, HeightsOptions(), lambda s: s, None, smaller)
    rows, cols = np.arange(window.row, window.row + window.height), np.arange(window.col, window.col + window.width)
    assert np.array_equal(found.height, np.add.outer(rows, cols).astype(np.float32))
    assert found.notes == (f"matched in windows of {max(window.width, window.height) // 4} px for want of memory",)
    assert (seen[0] < max(window.width, window.height)) == smaller
    limit = 0
    with pytest.raises(ImageError, match="memory is not enough for windows of 32 px"):
        heights_stage._match_in_memory(plan, view, window, HeightsOptions(), lambda s: s, None, False)


def test_a_tile_is_refined_in_smaller_windows_after_it_ran_out_of_memory(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The third trial of a job: half the windows, the same surface, and a note."""
    monkeypatch.setattr(refinement, "_WINDOW", 352)  # the tile with its rim has 192 cells: one window, then 36
    tile = next((finished / "out" / "tiles").glob("*/plan.json")).parent
    config = load_config(finished / "my.yaml")
    weights = str(untrained_weights(tmp_path / "w.safetensors"))
    options = replace(config.fuse, refine=replace(config.fuse.refine, weights=weights))
    found = {}
    for smaller in (False, True):
        ledger = tmp_path / str(smaller) / "ledger.json"
        consistent, plan = tile / "consistent" / "index.json", tile / "plan.json"
        heights_stage.fuse_tile(consistent, plan, config.area, options, ledger, smaller)
        notes = json.loads(ledger.read_text())["notes"]
        assert ("refined in windows of 176 cells for want of memory" in notes) == smaller
        found[smaller] = read_band(ledger.parent / "dsm.tif")[0]
    np.testing.assert_allclose(found[True], found[False], atol=1e-3)


def test_an_exchanged_image_is_noticed_by_its_readers_and_indexed_anew(copied: Path, two_tiles: dict[str, Any]):
    folder = copied / "images"
    folder.mkdir()
    images = [{**image, "path": str(shutil.copy2(image["path"], folder))} for image in two_tiles["images"]]
    config = write_config(copied, two_tiles, images=images)
    assert run(config, "--target", "plan").returncode == 0
    view = read_views(copied / "out" / "views.json")[0]
    read_image(view, Window(0, 0, 8, 8))
    old = Path(view.path).stat().st_mtime_ns - 10**12
    shutil.copy(two_tiles["images"][1]["path"], view.path)
    os.utime(view.path, ns=(old, old))  # older than the index: its date alone would tell nothing
    with pytest.raises(ImageError, match="has changed since it was indexed; run again"):
        read_image(view, Window(0, 0, 8, 8))
    assert "index_views" in pending(config)


def untrained_weights(path: Path) -> Path:
    """Weights of a refinement that keeps the surface, as a user's own file."""
    import torch

    from rsmvs.io.weights import write_weights
    from rsmvs.network_options import RefinerOptions
    from rsmvs.networks.ground_refiner import GroundRefiner

    torch.manual_seed(0)
    options = RefinerOptions(widths=(8, 12, 16))
    card = {"trained": True, "training": {}, "domain": {"gsd": [0.1, 10.0]}, "metrics": {}}
    card["architecture"] = {"kind": "groundrefiner", **as_dict(options)}
    write_weights(path, GroundRefiner(options).state_dict(), card)
    return path


WEIGHTS = {
    "heights": lambda w: {"heights": {"model": "casmvs", "learned": {"weights": w}}},
    "refinement": lambda w: {"fuse": {"refine": {"weights": w}}},
    "relative depth": lambda w: {"heights": {"model": "red", "rdm": True}, "rdm": {"model": w}},
}


@pytest.mark.parametrize("use", WEIGHTS)
def test_spoiled_weights_stop_a_run_before_it_begins(use: str, two_tiles: dict[str, Any], tmp_path: Path):
    weights = untrained_weights(tmp_path / "w.safetensors")
    config = write_config(tmp_path, two_tiles, **WEIGHTS[use](str(weights)))
    check(load_config(config))  # what kind of network they are is told by the stage
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ManifestError, match=r"w\.safetensors: does not match the checksum in its card"):
        check(load_config(config))


def test_a_folder_of_weights_that_are_cut_off_is_refused(two_tiles: dict[str, Any], tmp_path: Path):
    weights = untrained_weights(tmp_path / "model" / "model.safetensors")
    sections = {"heights": {"model": "red", "rdm": True}, "rdm": {"model": str(weights.parent)}}
    config = write_config(tmp_path, two_tiles, **sections)
    check(load_config(config))
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(ManifestError, match=r"model\.safetensors: is damaged"):
        check(load_config(config))


def test_a_folder_that_cannot_be_written_is_one_line():
    with pytest.raises(ConfigError, match="cannot be written"), held(Path("/proc/rsmvs")):
        raise AssertionError("held")


JOB = """
import sys, time
log = open(sys.argv[1], "w")
print("at work", flush=True)
more = []
for _ in range(1000):
    time.sleep(0.05)
    more.append(bytearray(30_000_000))  # not touched: asked for, not used
"""


@pytest.mark.parametrize(("fault", "status"), [(starve_a_job, 1), (time_out, -signal.SIGALRM)])
def test_faults_meet_the_job_that_is_at_work(fault: Any, status: int, tmp_path: Path):
    log = tmp_path / "out" / "logs" / "fuse_tile" / "x0_y0.log"
    log.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", JOB, str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        assert job.stdout is not None and job.stdout.readline() == b"at work\n"
        fault(tmp_path, random.Random(0), job.pid)
        _, said = job.communicate(timeout=60)
    assert job.returncode == status and (b"MemoryError" in said) == (status == 1)


def test_spoiled_weights_are_put_back(tmp_path: Path):
    weights = untrained_weights(tmp_path / "weights.safetensors")
    before, changed = weights.read_bytes(), weights.stat().st_mtime_ns
    back = spoil_the_weights(tmp_path, random.Random(0), 0)
    with pytest.raises(ManifestError, match="does not match the checksum"):
        read_card(str(weights))
    back()
    assert weights.read_bytes() == before and weights.stat().st_mtime_ns == changed


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """`folder` on a file system of its own."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted (not root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.soak
def test_random_faults_lose_nothing_in_silence(two_tiles: dict[str, Any], tmp_path: Path):
    """A finished run, of which something is taken away, and a fault while it is made again.

    RSMVS_FAULTS of them (50), from the RSMVS_FAULTS_FROM-th on (0), each after RSMVS_FAULTS_WITHIN seconds (25) at most.
    """
    (tmp_path / "images").mkdir()
    images = [{**i, "path": str(shutil.copy2(i["path"], tmp_path / "images"))} for i in two_tiles["images"]]
    refine = {"weights": str(untrained_weights(tmp_path / "weights.safetensors"))}
    config = write_config(tmp_path, two_tiles, images=images, fuse={**two_tiles["fuse"], "refine": refine})
    with small_disk(tmp_path / "out"):
        said = run(config)
        assert said.returncode == 0, said.stderr
        right = products(tmp_path)
        first = int(os.environ.get("RSMVS_FAULTS_FROM", "0"))
        for k in range(first, first + int(os.environ.get("RSMVS_FAULTS", "50"))):
            told = disturbed(tmp_path, config, random.Random(k), FAULTS[k % len(FAULTS)])
            print(f"{k}: {told}", flush=True)
            assert_nothing_lost(tmp_path, config, right, told)


def disturbed(folder: Path, config: Path, chance: random.Random, fault: Any) -> SimpleNamespace:
    """A run that has something to do, to which a fault is done at a random moment; then what was broken is put right."""
    first = chance.choice(CHAIN)
    undo(chance.choice(sorted((folder / "out" / "tiles").iterdir())), first)
    after = chance.uniform(0.5, float(os.environ.get("RSMVS_FAULTS_WITHIN", "25")))
    with (folder / "said").open("wb") as out:
        process = subprocess.Popen([*RSMVS, "run", str(config), "--cores", "2"], stdout=out, stderr=subprocess.STDOUT)
    try:
        process.wait(after)
        name = "nothing, it was done before"
    except subprocess.TimeoutExpired:
        name, repair = fault.__name__, fault(folder, chance, process.pid)
        process.wait()
        repair()
    said = (folder / "said").read_text()[-600:]
    return SimpleNamespace(fault=name, taken=first, after=round(after, 1), status=process.returncode, said=said)


def assert_nothing_lost(folder: Path, config: Path, right: dict[str, bytes], told: SimpleNamespace) -> None:
    if told.status != 0 or told.fault == "exchange_an_image":  # noticed between two passes, it is right to use the new one
        assert told.status <= 0 or "error: " in told.said or "interrupted" in told.said, told
        again = run(config)
        while "is at work there" in again.stderr:  # jobs of a killed run hold its folder until they end
            again = run(config)
        if again.returncode:  # tiles that failed last time are tried again by every run
            again = run(config)
        assert again.returncode == 0, f"{told}\n{again.stderr[-1000:]}"
    assert products(folder) == right, told
