"""Training: a batch can be learned by heart, a killed run goes on bit by bit, weights carry their card."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analytic_scene import Scenes, sample

from rsmvs.errors import ConfigError, ManifestError
from rsmvs.io.weights import read_weights, write_weights
from rsmvs.network_options import CascadeOptions, TrainOptions
from rsmvs.networks.cascade import StageHeights
from rsmvs.training.batches import Order
from rsmvs.training.loop import Run, train
from rsmvs.training.losses import at_stride, cascade_loss, height_loss
from rsmvs.training.tasks import CascadeTask

TINY = CascadeOptions(feature_channels=(2, 2, 4), regularizer_widths=(2, 2, 2), levels=1, hypotheses=(8, 4, 4))
WEIGHTS = (0.5, 1.0, 2.0)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _task() -> CascadeTask:
    return CascadeTask(TINY, WEIGHTS)


def _scenes() -> Scenes:
    return Scenes(6, size=32)


# ---- losses ----


def test_height_loss_has_the_published_gradient():
    """Smooth L1: 0.5 d^2 below one metre; beyond, the published |d| differs by a constant only. Unknown cells count not."""
    z = torch.tensor([[[[0.0, 0.4, -0.9, 3.0, -7.0, 5.0]]]], requires_grad=True)
    truth = torch.tensor([[[[0.0, 0.0, 0.0, 0.0, 0.0, np.nan]]]])
    loss = height_loss(z, truth)
    assert float(loss.detach()) == pytest.approx((0.5 * 0.16 + 0.5 * 0.81 + 2.5 + 6.5) / 5)
    loss.backward()
    expected = torch.tensor([0.0, 0.4, -0.9, 1.0, -1.0, 0.0]) / 5
    torch.testing.assert_close(z.grad[0, 0, 0], expected)


def test_cascade_loss_weighs_the_stages():
    truth = torch.zeros(1, 1, 8, 8)
    one = [StageHeights(torch.full((1, 1, 8 // s, 8 // s), 3.0), truth, truth, truth, s) for s in (4, 2, 1)]
    assert float(cascade_loss(one, truth, WEIGHTS)) == pytest.approx(2.5 * 3.5)
    assert float(cascade_loss(one[1:], truth, WEIGHTS)) == pytest.approx(2.5 * 3.0)


def test_truth_of_a_coarse_cell_is_the_mean_of_its_known_pixels():
    truth = torch.arange(16.0).view(1, 1, 4, 4)
    truth[0, 0, :2, 2:] = np.nan
    truth[0, 0, 0, 0] = np.nan
    coarse = at_stride(truth, 2)[0, 0]
    assert float(coarse[0, 0]) == pytest.approx((1 + 4 + 5) / 3)
    assert torch.isnan(coarse[0, 1])


# ---- learning ----


@pytest.mark.parametrize(("regularizer", "steps"), [("casmvs", 45), ("ucs", 45), ("red", 45)])
def test_one_batch_is_learned(regularizer, steps):
    """Far below the spread of the heights, in few steps; to 0.3 GSD in the soak test."""
    torch.manual_seed(0)
    options = CascadeOptions(regularizer=regularizer, feature_channels=(4, 4, 6), regularizer_widths=(4, 4, 4), levels=1,
                             hypotheses=(8, 4, 4), zncc_window=3)
    run = Run(CascadeTask(options, WEIGHTS), TrainOptions(steps=steps, lr=4e-3))
    scenes = [sample(i, size=32) for i in range(2)]
    spread = float(np.mean([np.abs(s.heights - np.median(s.heights)).mean() for s in scenes]))
    batch = run.task.collate(scenes)
    for _ in range(steps):
        run.advance([batch])
    assert run.evaluate(scenes)["mae"] < 0.3 * spread


@pytest.mark.soak
def test_a_batch_of_simulated_scenes_is_learned_to_a_third_of_the_gsd(tmp_path):
    """Every regulariser with both geometries."""
    benchmark = Path(__file__).parents[1] / "benchmarks" / "overfit.py"
    subprocess.run([sys.executable, str(benchmark), str(tmp_path), "--crop", "32", "--steps", "400"], check=True)
    errors = {p.stem: json.loads(p.read_text())["mae_gsd"] for p in tmp_path.glob("*.json")}
    assert len(errors) == 6
    assert max(errors.values()) < 0.3, errors


def test_learning_rate_rises_and_falls():
    run = Run(_task(), TrainOptions(steps=101, lr=1e-2, lr_end=1e-4, warmup=10))
    rates = []
    for run.step in (0, 9, 50, 100):
        rates.append(run.rate())
    assert rates[0] == pytest.approx(1e-3, rel=1e-2)
    assert rates[1] == pytest.approx(1e-2, rel=3e-2)
    assert rates[2] == pytest.approx((1e-2 + 1e-4) / 2)
    assert rates[3] == pytest.approx(1e-4)


def test_normalisation_keeps_its_statistics_near_the_end():
    """From then on a network learns as it will be used; before, it moves the statistics."""
    run, batch = Run(_task(), TrainOptions(steps=4, freeze_norm=0.5)), _task().collate([sample(0, size=32), sample(1, size=32)])
    means = []
    for _ in range(4):
        run.advance([batch])
        means.append(run.network.features.stem[0][1].running_mean.clone())
    assert not torch.equal(means[0], means[1])
    assert torch.equal(means[1], means[2])
    assert torch.equal(means[1], means[3])
    assert run.network.training


def test_half_precision_learns_on_a_cpu():
    losses = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        run = Run(_task(), TrainOptions(steps=2, precision=precision))
        losses.append(run.advance([run.task.collate([sample(0, size=32), sample(1, size=32)])]))
        assert all(p.dtype == torch.float32 for p in run.network.parameters())
    assert 0 < abs(losses[0] - losses[1]) < 0.02 * losses[0]


def test_accumulated_batches_give_the_gradient_of_one_large_batch():
    """With frozen statistics: those of a batch see one batch at a time. In fp32: bf16 is too coarse for it."""
    scenes = [sample(i, size=32) for i in range(4)]
    weights = []
    for parts in ([scenes], [scenes[:2], scenes[2:]]):
        torch.manual_seed(0)
        run = Run(_task(), TrainOptions(steps=5, lr=1e-3, clip_norm=0, freeze_norm=0, precision="fp32"))
        run.advance([run.task.collate(p) for p in parts])
        weights.append(torch.cat([p.grad.flatten() for p in run.network.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=2e-5, rtol=1e-3)


def test_average_of_weights_follows_them():
    run = Run(_task(), TrainOptions(steps=5, ema=0.9))
    before = {k: v.clone() for k, v in run.average.items()}
    run.advance([run.task.collate([sample(0, size=32), sample(1, size=32)])])
    now, name = run.network.state_dict(), "features.stem.0.0.weight"
    decay = min(0.9, 2 / 11)
    torch.testing.assert_close(run.average[name], before[name] * decay + now[name] * (1 - decay))
    assert torch.equal(run.shipped()[name], run.average[name])


# ---- order and resuming ----


def test_each_epoch_takes_every_sample_once_over_all_processes():
    options = TrainOptions(steps=6, batch_size=2, seed=3)
    taken = [b for rank in (0, 1) for b in Order(12, options, 0, rank, 2)]
    first_epoch = [i for rank in (0, 1) for b in list(Order(12, options, 0, rank, 2))[:3] for i in b]
    assert sorted(first_epoch) == list(range(12))
    assert sorted(i for b in taken for i in b) == sorted(2 * list(range(12)))
    late = list(Order(12, options, 4, 1, 2))
    assert late == list(Order(12, options, 0, 1, 2))[4:]


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path, ema):
    options = TrainOptions(steps=7, save_every=2, log_every=1, eval_every=3, ema=ema, seed=5)
    whole = train(_task, _scenes(), options, tmp_path / "whole", [sample(9, size=32)])

    class Stop(Exception):
        pass

    class Failing(Scenes):
        served = 0

        def __getitem__(self, index):
            self.served += 1
            if self.served > 10:  # in the sixth step: two steps past the checkpoint are lost
                raise Stop
            return super().__getitem__(index)

    with pytest.raises(Stop):
        train(_task, Failing(6, size=32), options, tmp_path / "cut", [sample(9, size=32)])
    cut = train(_task, _scenes(), options, tmp_path / "cut", [sample(9, size=32)])
    for name in ("last.safetensors", "last.json", "log.csv", "evaluation.csv", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name
    assert whole.name == cut.name
    assert len((tmp_path / "cut" / "log.csv").read_text().splitlines()) == 8


_KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_training import _task, _scenes
from rsmvs.network_options import TrainOptions
from rsmvs.training.loop import train
import torch
torch.set_num_threads(1)
train(_task, _scenes(), TrainOptions(steps={steps}, save_every=1, log_every=1, seed=5), {folder!r})
"""


def test_a_killed_process_goes_on_bit_by_bit(tmp_path):
    """SIGKILL at whatever step it has reached, checkpoint writing included."""
    steps = 12
    code = _KILLED.format(tests=str(Path(__file__).parent), steps=steps, folder=str(tmp_path / "killed"))
    child = subprocess.Popen([sys.executable, "-c", code])
    log = tmp_path / "killed" / "log.csv"
    while child.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 3):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "killed" / "last.safetensors").exists()
    options = TrainOptions(steps=steps, save_every=1, log_every=1, seed=5)
    train(_task, _scenes(), options, tmp_path / "killed")
    train(_task, _scenes(), options, tmp_path / "whole")
    for name in ("last.safetensors", "log.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_resuming_with_other_options_is_refused_by_name(tmp_path):
    train(_task, _scenes(), TrainOptions(steps=1, save_every=1), tmp_path)
    with pytest.raises(ConfigError, match=r"lr was 0\.001 and is 0\.1"):
        train(_task, _scenes(), TrainOptions(steps=2, lr=0.1), tmp_path)
    (tmp_path / "last.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ManifestError, match=r"last\.pt: is no checkpoint"):
        train(_task, _scenes(), TrainOptions(steps=2), tmp_path)


def test_a_training_goes_on_with_the_same_configuration_alone(tmp_path):
    """Also where two sections have an option of one name, and with those that only the stage knows."""
    config = {"training": {}, "network": {}, "data": {"crop": 32, "rdm": "none"}, "class_weight": 20.0}
    whole = train(_task, _scenes(), TrainOptions(steps=2, seed=5), tmp_path / "whole", config=config)
    train(_task, _scenes(), TrainOptions(steps=1, seed=5), tmp_path / "cut", config=config)
    for other, named in (({**config, "data": {"crop": 48, "rdm": "none"}}, r"data\.crop was 32 and is 48"),
                         ({**config, "class_weight": 1.0}, r"class_weight was 20\.0 and is 1\.0")):  # fmt: skip
        with pytest.raises(ConfigError, match=named):
            train(_task, _scenes(), TrainOptions(steps=2, seed=5), tmp_path / "cut", config=other)
        assert json.loads((tmp_path / "cut" / "config.json").read_text()) == config
    with pytest.raises(ConfigError, match=r"training\.seed was 5 and is 6"):
        train(_task, _scenes(), TrainOptions(steps=2, seed=6), tmp_path / "cut", config=config)
    longer = {**config, "training": {"steps": 2}}
    again = train(_task, _scenes(), TrainOptions(steps=2, seed=5, workers=2), tmp_path / "cut", config=longer)
    assert again.name == whole.name and json.loads((tmp_path / "cut" / "config.json").read_text()) == longer


def test_the_seed_of_a_network_hides_no_other(tmp_path):
    """MVSR3D's prompts have a seed of their own."""
    made = [_Seeded()]
    train(made.pop, _scenes(), TrainOptions(steps=1, seed=5), tmp_path)
    with pytest.raises(ConfigError, match=r"training\.seed was 5 and is 6"):
        train(_Seeded, _scenes(), TrainOptions(steps=2, seed=6), tmp_path)


class _Seeded(CascadeTask):
    def __init__(self) -> None:
        super().__init__(TINY, WEIGHTS)

    def architecture(self):
        return {**super().architecture(), "seed": 0}


def test_processes_that_load_samples_change_nothing(tmp_path):
    paths = [train(_task, _scenes(), TrainOptions(steps=3, workers=n), tmp_path / str(n)) for n in (0, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_events_are_written_where_tensorboard_is_installed(tmp_path, monkeypatch):
    seen = []
    writer = SimpleNamespace(add_scalar=lambda *values: seen.append(values), flush=lambda: None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=lambda folder: writer))
    options = TrainOptions(steps=2, log_every=1, eval_every=2, tensorboard=True)
    train(_task, _scenes(), options, tmp_path / "with", [sample(9, size=32)])
    rows = (tmp_path / "with" / "log.csv").read_text().splitlines()[1:]
    losses = [value for name, value, _ in seen if name == "log/loss"]
    assert losses == pytest.approx([float(r.split(",")[2]) for r in rows], rel=1e-5) and len(losses) == 2
    assert {step for name, _, step in seen if name == "evaluation/mae"} == {2}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="tensorboard: the package is not installed"):
        train(_task, _scenes(), options, tmp_path / "without")


def test_precision_follows_the_processor(monkeypatch):
    for has, regularizer, precision, half in ((True, "casmvs", "auto", True), (True, "ucs", "auto", True),
                                              (True, "red", "auto", False), (False, "casmvs", "auto", False),
                                              (True, "casmvs", "fp32", False), (False, "red", "bf16", True)):  # fmt: skip
        monkeypatch.setattr("rsmvs.training.loop.cpu_has_bf16", lambda h=has: h)
        run = Run(CascadeTask(replace(TINY, regularizer=regularizer), WEIGHTS), TrainOptions(precision=precision))
        assert isinstance(run.autocast(), torch.autocast) == half or torch.cuda.is_available()


_PROCESS = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_training import SHARED, _task, _scenes
from rsmvs.training.loop import train
made = []
def task():
    made.append(_task())
    return made[0]
train(task, _scenes(), SHARED, {folder!r})
torch.save(made[0].network.state_dict(), os.path.join({folder!r}, "rank" + os.environ["RANK"] + ".pt"))
"""
# Statistics of a batch would be those of one process's share; a loss is the mean over the processes, as over a batch.
SHARED = TrainOptions(steps=2, batch_size=1, log_every=1, freeze_norm=0)


def test_two_processes_train_one_network(tmp_path):
    """torchrun's environment, gloo: both take their share of the samples, one writes; both end where one process with a batch
    of two ends."""
    code = _PROCESS.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000)}
    children = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **shared, "RANK": str(rank)}) for rank in (0, 1)
    ]
    assert [c.wait(timeout=600) for c in children] == [0, 0]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert read_weights(str(tmp_path / "last.safetensors")).card["training"]["steps"] == 2
    one, other = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    shares = {}
    for size in (1, 2):  # of the batch of a single process
        alone = train(_task, _scenes(), replace(SHARED, batch_size=size), tmp_path / str(size))
        known = read_weights(str(alone)).tensors
        pairs = [((known[k] - one[k]).abs() < 1e-4).float().mean() for k in one if k.endswith("weight")]
        shares[size] = float(torch.stack(pairs).mean())
    assert shares[2] > 0.97 > 0.9 > shares[1], shares  # RMSprop moves by the sign where gradients are next to nothing


# ---- weights ----


def test_weights_come_back_with_their_card(tmp_path):
    card = {"data": "analytic scenes"}
    path = train(_task, _scenes(), TrainOptions(steps=1), tmp_path, card=card)
    weights = read_weights(str(path))
    assert weights.card["architecture"]["kind"] == "cascade"
    assert weights.card["training"]["data"] == "analytic scenes"
    assert weights.card["domain"] == {"gsd": [0.5, 0.5], "height_span": [40.0, 40.0]}  # the second one as it was learned
    _task().network.load_state_dict(weights.tensors)


def test_random_weights_cannot_be_used_by_mistake(tmp_path):
    path = tmp_path / "w.safetensors"
    card = {"trained": False, "architecture": {}, "training": {}, "domain": {}, "metrics": {}}
    write_weights(path, {"a": torch.zeros(2)}, card)
    with pytest.raises(ManifestError, match="random weights"):
        read_weights(str(path))
    assert torch.equal(read_weights(str(path), allow_random=True).tensors["a"], torch.zeros(2))


def test_tampered_or_missing_weights_are_named(tmp_path):
    path = train(_task, _scenes(), TrainOptions(steps=1), tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ManifestError, match="checksum"):
        read_weights(str(path))
    path.with_suffix(".json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(ManifestError, match="no card of format"):
        read_weights(str(path))
    with pytest.raises(ManifestError, match="no embedded model"):
        read_weights("nothing-of-that-name")
    with pytest.raises(ManifestError, match="does not exist"):
        read_weights(str(tmp_path / "absent.safetensors"))
