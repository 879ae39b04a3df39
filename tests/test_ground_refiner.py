"""The refinement on the ground grid: evidence of candidate heights, the network's choice, training, the tile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tile_scene import planned_tile

from rsmvs.fusion.evidence import BASE, CANDIDATES, CHANNELS, STEPS, candidate_heights, closed, gather, holding
from rsmvs.geometry.grid import Grid
from rsmvs.io.ground_samples import read_ground_sample, write_ground_sample
from rsmvs.network_options import GroundDataOptions, GroundTrainConfig, RefinerOptions, TrainOptions
from rsmvs.networks.ground_refiner import ASTRAY, GroundRefiner, chosen
from rsmvs.simulate.samples import SampleOptions, training_sample
from rsmvs.stages.ground_samples import ground_sample
from rsmvs.training.ground import GroundCrops, GroundTask

SMALL = RefinerOptions(widths=(8, 12, 16))


@pytest.fixture(scope="module")
def sample():
    options = SampleOptions(width=160, height=160, views=3, style="small town", other_date=0.0, clouds=0.0, haze=0.0,
                            gsd_min=0.5, gsd_max=0.5, incidence_max=20, angle_max=30)
    return ground_sample(training_sample(3, options))


def test_sample_holds_truth_within_reach_of_the_candidates(sample):
    known = np.isfinite(sample.target)
    assert known.mean() > 0.9
    assert sample.channels.shape == (CANDIDATES, CHANNELS, *sample.target.shape) and len(sample.base) == BASE
    right = np.abs(sample.target[known]) * sample.cell < 1
    nearest = np.abs(sample.offsets - np.nan_to_num(sample.target)).min(0)[known] * sample.cell
    assert right.mean() > 0.8
    assert (nearest < 0.5).mean() > right.mean()


def test_evidence_prefers_the_true_height(sample):
    """Where the surface is right, every channel says so against a height 6 cells off, on average."""
    right = np.abs(np.nan_to_num(sample.target, nan=9.0)) < 0.5
    own, high, low = STEPS.index(0.0), STEPS.index(6.0), STEPS.index(-6.0)
    mean = sample.channels[:, :, right].mean(-1)
    for other in (high, low):
        assert (mean[own, :4] > mean[other, :4] + 0.05).all()  # agreement, best pair, likeness, support
    assert mean[high, 4] > mean[own, 4] + 0.3  # views see through a height above the surface
    # under the surface a height is hidden, not contradicted
    assert mean[low, 4] < 0.1
    seen = sample.channels[:, 1] > -1
    assert (sample.channels[:, 1] >= sample.channels[:, 0] - 0.05)[seen].mean() > 0.95  # no worse than the mean


def test_candidates_and_holes():
    height = np.full((40, 40), 10.0, np.float32)
    height[:, 20:] = 18.0
    height[5, 5] = np.nan
    planes = candidate_heights(closed(height), 0.5)
    assert np.isfinite(planes).all()
    assert planes[STEPS.index(1.5), 0, 0] == pytest.approx(10.75)
    lowest, highest = planes[len(STEPS)], planes[len(STEPS) + 1]
    assert lowest[10, 21] == 10.0 and highest[10, 18] == 18.0 and highest[10, 10] == 10.0
    block = np.full((60, 60), 10.0, np.float32)
    block[20:44, 20:44] = 18.0
    assert (candidate_heights(block, 0.5)[-1] == 10.0).all()  # what stands on the ground and is narrower than the opening goes


def test_no_view_no_opinion():
    height = np.full((16, 16), 3.0, np.float32)
    evidence = gather(height, np.ones_like(height), np.zeros((16, 16)), [], 0.5)
    assert (evidence.views == 0).all() and np.isfinite(evidence.channels).all() and np.isfinite(evidence.base).all()
    assert (holding(height, [], 1.0) == 0).all()


def test_untrained_network_keeps_the_surface():
    network = GroundRefiner(SMALL)
    o = SMALL
    offsets = torch.zeros(1, o.candidates, 16, 16)
    offsets[:, : len(STEPS)] = torch.tensor(STEPS).view(1, -1, 1, 1)
    offsets[:, len(STEPS) :] = 30.0  # candidates of neighbours, far away
    logits = network(torch.zeros(1, o.candidates * o.channels + o.base, 16, 16))
    assert logits.shape == (1, o.candidates + 1, 16, 16)
    height, sure, _ = chosen(logits[0].detach(), offsets[0].numpy())
    assert np.abs(height).max() < 0.5
    assert ((sure > 0) & (sure <= 1)).all()


def test_choice_averages_one_group_only():
    """Two candidates at the roof and one, a little likelier, on the ground: the roof wins, and nothing lies in between."""
    offsets = np.array([0.0, 10.0, 11.0], np.float32).reshape(3, 1, 1)
    share = torch.tensor([0.4, 0.3, 0.2, 0.1]).view(4, 1, 1)
    height, sure, spread = chosen(share.log(), offsets)
    assert float(height[0, 0]) == pytest.approx(10.4) and float(sure[0, 0]) == pytest.approx(0.5)
    square = 0.4 * 10.4**2 + 0.3 * 0.4**2 + 0.2 * 0.6**2 + 0.1 * ASTRAY**2
    assert float(spread[0, 0]) == pytest.approx(square**0.5, rel=1e-4)


def test_files_and_crops(sample, tmp_path):
    write_ground_sample(tmp_path / "a.npz", sample)
    back = read_ground_sample(tmp_path / "a.npz")
    assert np.abs(back.channels / 127 - sample.channels).max() < 0.005
    assert np.nanmax(np.abs(back.target.astype(np.float32) - np.clip(sample.target, -200, 200))) < 0.06
    crops = GroundCrops([tmp_path / "a.npz"], 32, 40, seed=2)
    again = GroundCrops([tmp_path / "a.npz"], 32, 40, seed=2)
    assert len(crops) == 40
    for i in (0, 7):
        assert np.array_equal(crops[i].channels, again[i].channels)
    assert crops[0].channels.shape[-2:] == (32, 32)
    # turned and mirrored together: the pairs of a candidate's offset and its channels stay pairs
    def pairs(of):
        return set(zip(of.offsets[15].ravel().tolist(), of.channels[15, 2].ravel().tolist(), strict=True))

    assert pairs(crops[3]) <= pairs(back)


def test_learns_a_scene(sample, tmp_path):
    """On one scene, seen again and again, the loss falls, and cells that were wrong become right."""
    write_ground_sample(tmp_path / "a.npz", sample)
    crops = GroundCrops([tmp_path / "a.npz"], 48, 400, seed=1)
    torch.manual_seed(0)
    task = GroundTask(SMALL)
    optimiser = torch.optim.RMSprop(task.network.parameters(), lr=2e-3, alpha=0.9)
    losses = []
    for i in range(60):
        loss = task.loss(task.network, task.collate([crops[2 * i], crops[2 * i + 1]]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-15:]) < 0.85 * np.mean(losses[:5])
    whole = task.collate([GroundCrops([tmp_path / "a.npz"], 128, 1)[0]])
    with torch.inference_mode():
        scores = {name: a / b for name, (a, b) in task.scores(whole).items()}
    assert scores["mae_5"] < scores["prior_mae_5"] and scores["pag_1"] > scores["prior_pag_1"]


def test_grids_share_their_coarse_cells():
    for x0, y0 in ((1000.0, 2000.0), (1003.5, 1999.5)):
        core = Grid(x0, y0, 0.5, 40, 30)
        grid, inside = core.around(20, 8)
        assert round(grid.x0 / 0.5) % 8 == 0 and round(-grid.y0 / 0.5) % 8 == 0
        rows, cols = inside
        assert (rows.stop - rows.start, cols.stop - cols.start) == core.shape
        assert grid.offset_of(core) == (cols.start, rows.start)
        assert 20 <= cols.start < 28 and grid.width - cols.stop == 20


def test_training_options_are_those_of_the_evidence():
    o = GroundTrainConfig(RefinerOptions(), TrainOptions(), GroundDataOptions()).network
    assert (o.candidates, o.channels, o.base, o.own) == (CANDIDATES, CHANNELS, BASE, STEPS.index(0.0))


def test_recipe_by_command(tmp_path):
    """The recipe of the embedded weights, cut short: samples, training, going on, weights that the refinement reads."""
    from rsmvs.cli import main
    from rsmvs.stages.refinement import Refiner

    samples, out = str(tmp_path / "samples"), str(tmp_path / "run")
    data = ["--set", "data.count=3", "--set", "data.evaluation=1", "--set", "data.size=128", "--set", 'data.styles=["town"]']
    assert main(["train", "--model", "ground", "--mode", "samples", "-o", samples, *data]) == 0
    assert len(list((tmp_path / "samples").glob("*.npz"))) == 3
    settings = ("data.crop=64", "data.evaluation=1", "network.widths=8,12,16", "training.threads=1", "training.warmup=2")
    short = ["--dataset_root", samples, *(part for setting in settings for part in ("--set", setting))]
    for steps in (2, 3):  # the second command goes on
        assert main(["train", "--model", "ground", "-o", out, *short, "--set", f"training.steps={steps}"]) == 0
    refiner = Refiner(f"{out}/last.safetensors")
    assert refiner.notes(0.5) == () and "trained for cells" in refiner.notes(5.0)[0]


def test_a_tile_is_refined(tiny_scene, tmp_path):
    """With the embedded weights: as complete as without, no worse, and as far off as it says."""
    from dataclasses import replace

    from rsmvs.io.manifests import read_json
    from rsmvs.io.raster import opened
    from rsmvs.options import RefineOptions
    from rsmvs.stages.heights import filter_heights, fuse_tile, predict_heights

    config, plan = planned_tile(tiny_scene, tmp_path)
    index, consistent = (plan.parent / n for n in ("heights/index.json", "consistent/index.json"))
    predict_heights(plan, config.area, config.heights, index)
    filter_heights(index, plan, config.filter, consistent)
    found = {}
    for name, refine in {"plain": RefineOptions(weights="none"), "refined": RefineOptions()}.items():
        ledger = plan.parent / name / "ledger.json"
        fuse_tile(consistent, plan, config.area, replace(config.fuse, refine=refine), ledger)
        assert read_json(ledger)["status"] == "ok"
        with opened(ledger.parent / "dsm.tif") as dsm, opened(ledger.parent / "sigma.tif") as sigma:
            values, off = dsm.read(1, masked=True).filled(np.nan), sigma.read(1, masked=True).filled(np.nan)
            with opened(tiny_scene / config.reference.dsm) as truth:
                window = truth.window(*dsm.bounds)
                error = np.abs(values - truth.read(1, window=window, boundless=True, fill_value=np.nan))
        inside = np.isfinite(error) | np.isnan(values)
        found[name] = (np.isfinite(values).mean(), (error < 1)[inside].mean(), (error < 2 * off)[np.isfinite(error)].mean())
    assert found["refined"][0] > found["plain"][0] - 0.02
    assert found["refined"][1] > found["plain"][1] - 0.005
    assert 0.8 < found["refined"][2] <= 1
