"""A training as a job of the workflow: killed at any step, the same command goes on and ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from analytic_scene import sample
from test_mvsr3d import TINY as TINY_JOINT
from test_mvsr3d import labelled
from workflow_runs import RSMVS, run, write_config

from rsmvs.cli import main
from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.io.samples import write_sample
from rsmvs.io.weights import read_weights
from rsmvs.stages.train import read_training, train_cascade
from rsmvs.stages.train_joint import read_joint
from rsmvs.stages.train_network import train_network

TRAINING = {
    "network": {"feature_channels": [2, 2, 4], "regularizer_widths": [2, 2, 2], "levels": 1, "hypotheses": [8, 4, 4]},
    "training": {"steps": 30, "save_every": 2, "log_every": 1, "threads": 1},
    "data": {"dataset": "samples", "dataset_root": "samples", "crop": 32, "evaluation": 1},
}


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A training's YAML file with its samples beside it."""
    for i in range(3):
        write_sample(tmp_path / "samples" / f"{i}.npz", sample(i, size=32))
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump(TRAINING))
    return path


def test_a_killed_training_goes_on_by_the_same_command(training: Path, two_tiles: dict[str, Any], tmp_path: Path):
    config = write_config(tmp_path, two_tiles, train={"config": "training.yaml", "threads": 1})
    command = [*RSMVS, "run", str(config), "--cores", "1", "--target", "train"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "out" / "train" / "log.csv"
    while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 4):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (log.parent / "last.safetensors").exists()
    assert (log.parent / "last.pt").exists()
    said = run(config, "--target", "train")
    assert said.returncode == 0, said.stderr
    torch.set_num_threads(1)
    whole = train_cascade(read_training(str(training)), tmp_path / "whole").parent
    for name in ("last.safetensors", "last.json", "log.csv"):
        assert (log.parent / name).read_bytes() == (whole / name).read_bytes(), name
    before = (log.parent / "last.safetensors").stat().st_mtime_ns
    said = run(config, "--target", "train")
    assert said.returncode == 0, said.stderr
    assert (log.parent / "last.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(("model", "heights"), [("mvsr3d", True), ("mvsam", False)])
def test_heights_and_classes_are_trained_by_the_workflow_s_job(model: str, heights: bool, tmp_path: Path):
    """Of a file whose paths count from its folder, over the architecture that is named."""
    (tmp_path / "here").mkdir()
    for i in range(2):
        write_sample(tmp_path / "here" / "samples" / f"{i}.npz", labelled(i, 48))
    joint = {"network": as_dict(TINY_JOINT), "training": {**TRAINING["training"], "steps": 1}, "data": TRAINING["data"]}
    (tmp_path / "here" / "joint.yaml").write_text(yaml.safe_dump(joint))
    torch.set_num_threads(1)
    made = train_network(str(tmp_path / "here" / "joint.yaml"), model, "tiny", tmp_path / "out")
    card = read_weights(str(made)).card
    assert card["architecture"]["heights"] == heights and card["training"]["steps"] == 1
    again = ["train", "--model", model, "--config", str(tmp_path / "here" / "joint.yaml"), "-o", str(tmp_path / "cli")]
    assert main(again) == 0
    assert (tmp_path / "cli" / "last.safetensors").read_bytes() == made.read_bytes()


def test_the_presets_of_a_training_are_those_of_its_model(training: Path):
    assert read_joint(None, "tiny_refine").network.cascade.prior == "sgm"
    training.write_text("network: {cascade: {levels: 1}}\n")
    read = read_joint(str(training), "tiny_refine")
    assert (read.network.cascade.levels, read.network.cascade.prior) == (1, "sgm")
    with pytest.raises(ConfigError, match="'small' is not known"):
        train_network(str(training), "mvsr3d", "small", training.parent / "out")
    with pytest.raises(ConfigError, match="'tiny' is not known"):
        train_network(str(training), "cascade", "tiny", training.parent / "out")


def test_a_training_that_is_not_described_is_told(two_tiles: dict[str, Any], tmp_path: Path):
    said = run(write_config(tmp_path, two_tiles), "--target", "train")
    assert said.returncode == 1
    assert "train.config: is not set" in said.stderr


def test_paths_of_a_training_count_from_its_file(training: Path):
    read = read_training(str(training), "paper")
    assert read.data.dataset_root == str(training.parent / "samples")
    assert read.network.hypotheses == (8, 4, 4)
    assert read.network.lamb == 1.5
    with pytest.raises(ConfigError, match="'huge' is not known"):
        read_training(str(training), "huge")
