"""`rsmvs train` and `rsmvs predict` as users of the published code type them, on folders composed as they are published."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analytic_scene import Scenes, sample
from test_datasets import _views, _write_folders
from test_mvsr3d import TINY as TINY_JOINT
from test_mvsr3d import labelled

from rsmvs.cli import main
from rsmvs.cli.train import add_arguments, kind_of
from rsmvs.errors import ConfigError
from rsmvs.io.manifests import read_json
from rsmvs.io.raster import opened
from rsmvs.io.samples import write_sample
from rsmvs.io.weights import read_weights
from rsmvs.network_options import CascadeOptions, DataOptions, GroundTrainConfig, MonocularConfig, TrainConfig, TrainOptions
from rsmvs.options import LearnedOptions
from rsmvs.semantic_options import JointConfig
from rsmvs.stages.predict import agreed, predict_samples
from rsmvs.stages.train import stored_samples
from rsmvs.training.joint import JointTask
from rsmvs.training.loop import train
from rsmvs.training.tasks import CascadeTask, start_from
from rsmvs.types import CLASS_NAMES

TINY = CascadeOptions(feature_channels=(2, 2, 4), regularizer_widths=(2, 2, 2), levels=1, hypotheses=(8, 4, 4))
TRAIN = ('python train.py --mode="train" --model="red" --geo_model="pinhole" --dataset="aerial" '
         '--dataset_root=[Your dataset root] --batch_size=1 --min_interval=[GSD(resolution of the image)] --gpu_id="0"')
PREDICT = ('python predict.py --model="red" --geo_model="pinhole" --dataset="aerial" --dataset_root=[Your dataset] '
           '--loadckpt=[A checkpoint]')  # fmt: skip
SHORT = shlex.split("--set training.steps=2 --set training.threads=1 --set data.crop=32 --set data.evaluation=0 "
                    "--set network.levels=1 --set network.feature_channels=2,2,4 --set network.regularizer_widths=2,2,2")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # and set it back after --gpu_id


@pytest.fixture(scope="module")
def whu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with train/ and test/, each with image/, camera/ and depth/."""
    root = tmp_path_factory.mktemp("whu")
    for part, seed in (("train", 21), ("test", 23)):
        _write_folders(root / part, _views("aerial", 3, seed), [2, 1, 3], "depth", "camera")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return trained(TINY, tmp_path_factory.mktemp("w"))


def trained(options: CascadeOptions, folder: Path) -> Path:
    return train(lambda: CascadeTask(options, (0.5, 1, 2)), Scenes(2, size=32), TrainOptions(steps=1), folder)


def line(text: str, **values: object) -> list[str]:
    """The arguments of a command of the seed, what it leaves to the reader filled in."""
    for name, value in values.items():
        text = text.replace(name.replace("_", " "), str(value))
    return shlex.split(text.replace("[", "").replace("]", ""))[2:]


def seed_train(root: object) -> list[str]:
    return ["train", *line(TRAIN.replace("[GSD(resolution of the image)]", "0.4"), Your_dataset_root=root)]


def config_of(*flags: str) -> Any:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(flags)
    return kind_of(args.model).config(args)


# ---- the seed's two lines


def test_the_training_of_the_seed_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[TrainConfig, str]] = []
    monkeypatch.setattr("rsmvs.stages.train.train_cascade", lambda config, folder: asked.append((config, folder)))
    assert main([*seed_train("WHU-MVS"), "--ref_view", "3"]) == 0
    config, folder = asked[0]
    assert (config.network.regularizer, config.network.min_interval) == ("red", 0.4)
    assert (config.data.geo_model, config.data.dataset, config.data.dataset_root) == ("pinhole", "aerial", "WHU-MVS")
    assert (config.data.ref_view, config.data.view_num, config.training.batch_size) == (3, 3, 1)
    assert folder == "runs/training"


def test_the_two_commands_of_the_seed_run(whu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*seed_train(whu), *SHORT, "--ndepths", "8,4,4"]) == 0
    card = read_json(Path("runs/training/last.json"))
    assert card["architecture"]["regularizer"] == "red" and card["architecture"]["min_interval"] == 0.4
    assert card["training"]["data"]["geo_model"] == "pinhole"
    predict = ["predict", *line(PREDICT, Your_dataset=whu, A_checkpoint="runs/training/last.safetensors")]
    assert main([*predict, "--set", "backend=torch"]) == 0
    index = read_json(Path("runs/predictions/index.json"))
    assert index["model"] == "red" and set(index["samples"]) == {"000"} and index["mean"]["completeness"] > 0.5
    with opened(Path("runs/predictions/000.tif")) as src:
        assert src.descriptions == ("height", "confidence") and np.isfinite(src.read(1)).mean() > 0.5


def test_training_and_prediction_take_their_own_part_of_a_root(whu: Path) -> None:
    data = DataOptions(dataset="aerial", dataset_root=str(whu), geo_model="pinhole")
    assert [stored_samples(data, part).root.name for part in ("train", "test")] == ["train", "test"]
    assert stored_samples(replace(data, dataset_root=str(whu / "train")), "test").root.name == "train"


def test_a_geometry_that_the_cameras_do_not_have_is_refused(whu: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.geo_model: is 'rpc', but the cameras of .* are 'pinhole'"):
        stored_samples(DataOptions(dataset="aerial", dataset_root=str(whu), geo_model="rpc"), "train")
    write_sample(tmp_path / "a.npz", sample(0, size=32))
    stored = DataOptions(dataset="samples", dataset_root=str(tmp_path), geo_model="rpc")
    with pytest.raises(ConfigError, match="samples hold no cameras"):
        stored_samples(stored, "train")
    assert len(stored_samples(replace(stored, geo_model="auto"), "train")) == 1


def test_mode_test_writes_heights_and_scores(whu: Path, weights: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ["--mode", "test", "--model", "casmvs", "--dataset", "aerial", "--dataset_root", str(whu)]
    assert main(["train", *flags, "-o", str(tmp_path)]) == 1
    assert "--loadckpt: is not set" in capsys.readouterr().err
    assert main(["train", *flags, "-o", str(tmp_path), "--loadckpt", str(weights)]) == 0
    assert read_json(tmp_path / "index.json")["mean"]["mae"] > 0 and "mae" in capsys.readouterr().out
    assert main(["train", "--mode", "test", "--model", "ground", "--loadckpt", "x"]) == 1


# ---- flags and the weights' card


@pytest.mark.parametrize("flag", [("--model", "red"), ("--ndepths", "64,32,8"), ("--depth_inter_r", "4,2,2"), ("--lamb", "2")])
def test_what_the_card_contradicts_is_refused(flag: tuple[str, str], weights: Path, tmp_path: Path, capsys: Any) -> None:
    write_sample(tmp_path / "data" / "a.npz", sample(0, size=32))
    known = ["--model", "casmvs", "--ndepths", "8,4,4", "--depth_inter_r", "4,2,1", "--lamb", "1.5", "--batch_size", "2"]
    command = ["predict", "--loadckpt", str(weights), "--dataset_root", str(tmp_path / "data"), "-o", str(tmp_path / "out")]
    assert main([*command, *known, "--backend", "torch"]) == 0
    assert main([*command, *flag]) == 1
    assert "was trained with" in capsys.readouterr().err


def test_an_interval_may_be_chosen_where_the_card_leaves_it_open(weights: Path) -> None:
    stored = read_weights(str(weights))
    chosen = agreed(stored, {"min_interval": 0.1})
    assert chosen.card["architecture"] == {**stored.card["architecture"], "min_interval": 0.1}
    with pytest.raises(ConfigError, match=r"min_interval: is 0\.2, but"):
        agreed(chosen, {"min_interval": 0.2})


def test_weights_with_classes_predict_them_too(tmp_path: Path) -> None:
    for i in range(2):
        write_sample(tmp_path / "data" / f"{i}.npz", labelled(i, 48))
    task = JointConfig(network=TINY_JOINT)
    made = train(lambda: JointTask(task), [labelled(5, 32)], TrainOptions(steps=1, batch_size=1), tmp_path / "w")
    data = DataOptions(dataset="samples", dataset_root=str(tmp_path / "data"))
    index = read_json(predict_samples(data, LearnedOptions(weights=str(made)), tmp_path / "out", {"regularizer": "mvsr3d"}))
    assert 0 <= index["mean"]["wrong_class"] <= 1 and index["mean"]["mae"] > 0
    with opened(tmp_path / "out" / "analytic-1.tif") as src:
        assert src.descriptions == ("height", "confidence", *(f"p_{name}" for name in CLASS_NAMES))
        np.testing.assert_allclose(src.read()[2:].sum(0), 1, atol=1e-5)
    with pytest.raises(ConfigError, match="trained with 'mvsr3d'"):
        predict_samples(data, LearnedOptions(weights=str(made)), tmp_path / "out", {"regularizer": "mvsam"})


# ---- other models


def test_flags_reach_every_kind_of_model() -> None:
    joint = config_of("--model", "mvsr3d", "--ndepths", "16,8,4", "--geo_model", "pinhole", "--min_interval", "0.2")
    assert isinstance(joint, JointConfig) and joint.data.geo_model == "pinhole"
    assert (joint.network.cascade.hypotheses, joint.network.cascade.min_interval) == ((16, 8, 4), 0.2)
    rdm = config_of("--model", "rdm", "--geo_model", "pinhole", "--lr", "0.01", "--ref_view", "1")
    assert isinstance(rdm, MonocularConfig)
    assert (rdm.data.geo_model, rdm.data.ref_view, rdm.training.lr) == ("pinhole", 1, 0.01)
    ground = config_of("--model", "ground", "--batch_size", "3")
    assert isinstance(ground, GroundTrainConfig) and ground.training.batch_size == 3


@pytest.mark.parametrize("flags", [("rdm", "--ndepths", "8,4,4"), ("rdm", "--dlossw", "1,1,1"), ("ground", "--ref_view", "1"),
                                   ("ground", "--geo_model", "rpc"), ("rdm", "--preset", "small")])
def test_flags_without_effect_are_refused(flags: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"{flags[1]}: not known to the model '{flags[0]}'"):
        config_of("--model", *flags)


def test_epochs_count_the_crops_of_every_kind(tmp_path: Path) -> None:
    for i in range(3):
        write_sample(tmp_path / f"{i}.npz", sample(i, size=32))
    flags = ["--dataset", "samples", "--dataset_root", str(tmp_path), "--batch_size", "3", "--set", "data.evaluation=1"]
    for model in ("casmvs", "mvsr3d", "mvsam", "rdm"):
        config = config_of("--model", model, *flags)
        assert kind_of(model).epochs(config, 5).training.steps == 14, model  # two samples, four crops each, three a step
    (tmp_path / "ground").mkdir()
    for i in range(3):
        (tmp_path / "ground" / f"{i}.npz").write_bytes(b"")
    ground = config_of("--model", "ground", "--dataset_root", str(tmp_path / "ground"), "--batch_size", "3", *flags[-2:])
    assert kind_of("ground").epochs(ground, 5).training.steps == 14


@pytest.mark.parametrize(("model", "prior", "rdm"), [("mvsr3d", True, True), ("mvsam", True, False), ("rdm", False, False)])
def test_samples_are_written_as_the_model_wants_them(
    model: str, prior: bool, rdm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = replace(labelled(0, 48), prior=None, rdm=None)
    monkeypatch.setattr("rsmvs.stages.train.training_samples", lambda data: ([bare], []))
    monkeypatch.setattr("rsmvs.stages.train.depth_model", lambda name: ("model", {}))
    monkeypatch.setattr("rsmvs.stages.train.rdm_of", lambda image, network, options: np.stack([image] * 3))
    joint = ["--preset", "tiny_refine", "--set", "network.cascade.rdm=true", "--set", "network.relief=true"]
    assert main(["train", "--mode", "samples", "--model", model, "-o", str(tmp_path), *(joint if model != "rdm" else [])]) == 0
    (written,) = (np.load(p) for p in tmp_path.glob("*.npz"))
    assert ("prior" in written, "rdm" in written) == (prior, rdm)


# ---- what a network starts from, and what it needs


def test_weights_of_another_kind_of_network_are_refused(weights: Path, capsys: Any) -> None:
    stored = read_weights(str(weights)).tensors
    with pytest.raises(ConfigError, match="initial: weights and network have no tensor in common"):
        start_from(torch.nn.Linear(2, 2), stored)
    CascadeTask(replace(TINY, rdm=True), (0.5, 1, 2), stored)
    said = capsys.readouterr().out
    share = float(said.split(":")[1].split("%")[0])
    network = CascadeTask(replace(TINY, rdm=True), (0.5, 1, 2)).network
    whole = sum(v.numel() for v in network.state_dict().values())
    assert share == pytest.approx(100 * sum(v.numel() for v in stored.values()) / whole, abs=0.06) and share < 90


@pytest.mark.parametrize("workers", [0, 2])
def test_a_network_that_fuses_relative_depth_is_not_trained_without(workers: int, tmp_path: Path) -> None:
    bare = [replace(sample(i, size=32), rdm=None) for i in range(2)]
    for options in (replace(TINY, rdm=True), replace(TINY, rdm_guide=True)):
        with pytest.raises(ConfigError, match=r"relative depth: is missing in analytic-\d, but the network fuses it"):
            train(lambda o=options: CascadeTask(o, (0.5, 1, 2)), bare, TrainOptions(steps=1, workers=workers), tmp_path / "w")
    joint = JointTask(JointConfig(network=replace(TINY_JOINT, cascade=replace(TINY_JOINT.cascade, rdm=True))))
    with pytest.raises(ConfigError, match="relative depth: is missing"):
        joint.collate([replace(labelled(0, 32), rdm=None)])


def test_nor_does_it_predict_without(tmp_path: Path) -> None:
    made = trained(replace(TINY, rdm_guide=True), tmp_path)
    write_sample(tmp_path / "data" / "a.npz", replace(sample(0, size=64), rdm=None))
    data = DataOptions(dataset="samples", dataset_root=str(tmp_path / "data"))
    options = LearnedOptions(weights=str(made), backend="torch")
    with pytest.raises(ConfigError, match=r"relative depth: is missing in the samples, but .* was trained with it"):
        predict_samples(data, options, tmp_path / "out")
    index = read_json(predict_samples(replace(data, rdm_model="rdm-tiny"), options, tmp_path / "out"))
    assert index["notes"] == [] and index["mean"]["completeness"] > 0.5


def test_the_card_tells_the_scenes_that_were_learned(tmp_path: Path) -> None:
    """Crops search less than their samples do, and not all samples are reached."""
    scenes = [replace(sample(i, size=32), gsd=gsd, height_range=span) for i, gsd, span in
              ((0, 0.4, (80.0, 120.0)), (1, 0.7, (70.0, 130.0)))]  # fmt: skip
    made = train(lambda: CascadeTask(TINY, (0.5, 1, 2)), scenes, TrainOptions(steps=1, batch_size=2), tmp_path / "both")
    assert read_weights(str(made)).card["domain"] == {"gsd": [0.4, 0.7], "height_span": [40.0, 60.0]}
    for i in range(2):
        write_sample(tmp_path / "data" / f"{i}.npz", replace(scenes[i], classes=None))
    flags = ["--dataset", "samples", "--dataset_root", str(tmp_path / "data"), "--model", "casmvs", *SHORT]
    assert main(["train", "-o", str(tmp_path / "run"), *flags, "--set", "data.slack=1", "--ndepths", "8,4,4"]) == 0
    domain = json.loads((tmp_path / "run" / "last.json").read_text())["domain"]
    assert 0.4 <= domain["gsd"][0] <= domain["gsd"][1] <= 0.7 and 1 < domain["height_span"][1] < 40
