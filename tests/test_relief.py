"""What heights tell the encoder of MVSR3D, what its embedding learns by itself, and what written samples bring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic_scene import sample
from test_mvsr3d import TINY, labelled

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.io.samples import read_sample, write_sample
from rsmvs.network_options import PRESETS, DataOptions, TrainConfig, TrainOptions
from rsmvs.networks import sgm
from rsmvs.networks.mvsr3d import MVSR3D
from rsmvs.networks.relief import above_surroundings, relief
from rsmvs.networks.semantic_matcher import SemanticMatcher
from rsmvs.networks.tensors import stack_of
from rsmvs.options import LearnedOptions, SgmOptions
from rsmvs.semantic_options import JointConfig
from rsmvs.stages import train as train_stage
from rsmvs.training.joint import JointTask, segmentation_loss
from rsmvs.training.loop import Run, train


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def house(level: float = 100.0) -> torch.Tensor:
    z = torch.full((1, 1, 200, 200), level)
    z[..., 80:120, 80:120] += 8.0
    z[..., 20:30, 20:30] = torch.nan
    return z


def test_relief_is_what_stands_above_the_ground_wherever_that_lies():
    bands = relief(house())
    assert bands.shape == (1, 2, 200, 200) and torch.isfinite(bands).all()
    assert torch.allclose(bands[0, 0, 85:115, 85:115], torch.tensor(0.8)) and float(bands[0, 0, 40:70].abs().max()) == 0
    assert float(bands[0, 1, 95:105, 95:105].abs().max()) < 1e-5  # inside a roof nothing is off the mean close by
    assert float(bands[0, 1, 80, 100]) > 1 > -1 > float(bands[0, 1, 79, 100])
    assert (bands[..., 20:30, 20:30] == 0).all()
    torch.testing.assert_close(relief(house(2000.0)), bands, atol=1e-3, rtol=0)
    assert (relief(torch.full((1, 1, 64, 64), torch.nan)) == 0).all()


def test_lowest_surroundings_end_where_they_are_far():
    z = torch.zeros(1, 1, 16, 400)
    z[..., 200:] = 50.0
    above = above_surroundings(z)[0, 0, 8]
    assert float(above[205]) == 50 and float(above[390]) == 0 and float(above[100]) == 0


def test_heights_of_the_cascade_reach_the_classes_and_those_of_the_prior_mvsam():
    with_heights = replace(TINY, relief=True, egspg=False)
    task = JointTask(JointConfig(network=with_heights))
    stack, *_ = task.collate([labelled(0)])
    network = task.network.eval()
    seen: list[torch.Tensor | None] = []
    embed = network.mvsam.embed
    network.mvsam.embed = lambda image, z=None: seen.append(z) or embed(image, z)
    with torch.inference_mode():
        maps = network(stack)
    assert [z is None for z in seen] == [True] * len(stack.images) + [False] and torch.equal(seen[-1], maps.stages[-1].z)

    alone = replace(TINY, relief=True, heights=False, egspg=False, sam_fg=False)
    assert alone.from_prior and not replace(alone, relief=False).from_prior and not with_heights.from_prior
    task = JointTask(JointConfig(network=alone))
    stack, *_ = task.collate([labelled(0)])
    network = task.network.eval()
    with torch.inference_mode():
        one = network(stack).logits
        other = network(replace(stack, prior=stack.prior + 5 * (stack.prior > stack.prior.nanmedian()))).logits
        lifted = network(replace(stack, prior=stack.prior + 100)).logits
    assert float((one - other).abs().max()) > 1e-4
    torch.testing.assert_close(one, lifted, atol=1e-3, rtol=0)


def test_a_matcher_of_mvsam_with_relief_makes_its_prior_itself():
    network = MVSR3D(replace(TINY, relief=True, heights=False, egspg=False, sam_fg=False)).eval()
    stack = stack_of(replace(labelled(1), prior=None))
    found = SemanticMatcher(network, {}, LearnedOptions(threads=1))(stack)
    assert np.isfinite(found.height).any() and np.allclose(found.classes.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("card, asked, kept", [({}, "card", False), ({"heights_from": "prior"}, "card", True),
                                               ({"heights_from": "prior"}, "network", False), ({}, "prior", True)])
def test_whose_heights_a_matcher_gives(card, asked, kept):
    """Those of the network or of the matching that it starts from; the classes are the network's."""
    network = MVSR3D(replace(TINY, cascade=replace(TINY.cascade, prior="sgm"), relief=True)).eval()
    stack = stack_of(replace(labelled(1), prior=None))
    found = SemanticMatcher(network, card, LearnedOptions(threads=1, heights_from=asked))(stack)
    plain = sgm.match(stack, SgmOptions())
    assert np.array_equal(found.height, plain.height, equal_nan=True) == kept
    classes = SemanticMatcher(network, {}, LearnedOptions(threads=1))(stack).classes
    assert found.classes is not None and np.allclose(found.classes, classes, atol=1e-5)


def test_options_that_classes_cannot_follow_are_refused_and_the_others_have_an_effect():
    cascade = replace(TINY.cascade, prior="sgm")
    full, single = replace(TINY, cascade=cascade), replace(TINY, heights=False, egspg=False)
    for options, wrong in ((full, {"backend": "openvino"}), (TINY, {"heights_from": "prior"}),
                           (single, {"heights_from": "network"})):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            SemanticMatcher(MVSR3D(options), {}, LearnedOptions(**wrong))
    network, stack = MVSR3D(full).eval(), stack_of(replace(labelled(1), prior=None))

    def heights(sgm_options=None, **learned):
        return SemanticMatcher(network, {}, LearnedOptions(threads=1, **learned), sgm_options)(stack).height

    plain = heights()
    half = heights(precision="bf16")
    assert 0 < np.nanmax(np.abs(half - plain)) < 2.0
    assert not np.array_equal(heights(SgmOptions(p1=0)), plain, equal_nan=True)
    kept = heights(SgmOptions(p1=0), heights_from="prior")
    assert np.array_equal(kept, sgm.match(stack, SgmOptions(p1=0)).height, equal_nan=True)


@pytest.mark.parametrize("prompts", ["truth", "decoder"])
def test_prompts_come_from_the_truth_or_from_a_first_pass(prompts):
    task = JointTask(JointConfig(network=replace(TINY, prompts=prompts)))
    batch = task.collate([labelled(0)])
    asked = []

    def forward(stack, labels):
        asked.append(labels)
        return task.network(stack, labels)

    task.network.eval()
    assert torch.isfinite(task.loss(forward, batch))
    assert asked[0] is (batch[2] if prompts == "truth" else None)
    with torch.no_grad():  # other classes at the points, another answer
        true, none, wrong = (task.network(batch[0], labels).logits for labels in (batch[2], None, batch[2].flip(-1)))
    assert not torch.equal(true, wrong) and not torch.equal(true, none)
    assert task.scores(batch)["wrong_class"][1] > 0  # which never see the truth


def test_a_training_of_heights_and_classes_goes_on_bit_by_bit(tmp_path):
    config = JointConfig(network=TINY, training=TrainOptions(steps=3, batch_size=1, seed=4))
    scenes = [labelled(i, 32) for i in range(2)]

    def trained(folder, steps, seed=4):
        options = replace(config.training, steps=steps, seed=seed)
        return train(lambda: JointTask(config), scenes, options, tmp_path / folder, config=as_dict(config))

    whole = trained("whole", 3)
    class Stop(Exception):
        pass

    class Failing(list):
        served = 0

        def __getitem__(self, index):
            Failing.served += 1
            if Failing.served > 2:
                raise Stop
            return super().__getitem__(index)

    options = replace(config.training, save_every=1)
    with pytest.raises(Stop):
        train(lambda: JointTask(config), Failing(scenes), options, tmp_path / "stopped", config=as_dict(config))
    gone_on = train(lambda: JointTask(config), scenes, options, tmp_path / "stopped", config=as_dict(config))
    assert gone_on.read_bytes() == whole.read_bytes()
    with pytest.raises(ConfigError, match=r"training\.seed was 4 and is 5"):  # though the network's own seed is as it was
        trained("whole", 4, seed=5)


def test_the_hint_is_learned_and_decides_nothing():
    options = replace(TINY, hint=True, egspg=False)
    task = JointTask(JointConfig(network=options))
    batch = task.collate([labelled(0)])
    maps = task.network(batch[0])
    assert maps.hint is not None and maps.hint.shape == maps.logits.shape
    with_hint, without = (segmentation_loss(replace(maps, hint=h), batch[2]) for h in (maps.hint, None))
    own = torch.nn.functional.cross_entropy(maps.hint, batch[2], ignore_index=-1)
    torch.testing.assert_close(with_hint, (without + own) / 2)
    plain = MVSR3D(replace(options, hint=False)).eval()
    plain.load_state_dict({k: v for k, v in task.network.state_dict().items() if "hint" not in k})
    task.network.eval()
    with torch.inference_mode():
        assert torch.equal(plain(batch[0]).logits, task.network(batch[0]).logits) and plain(batch[0]).hint is None


def test_the_optimiser_is_the_published_one_or_adamw():
    task = JointTask(JointConfig(network=TINY))
    assert isinstance(Run(task, TrainOptions()).optimiser, torch.optim.RMSprop)
    other = Run(task, TrainOptions(optimizer="adamw", weight_decay=0.02)).optimiser
    assert isinstance(other, torch.optim.AdamW) and other.param_groups[0]["weight_decay"] == 0.02


def test_written_samples_are_given_the_prior_and_the_relative_depth_that_they_lack(tmp_path, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(train_stage, "depth_model", lambda name: asked.append(name) or ("model", {}))
    monkeypatch.setattr(train_stage, "rdm_of", lambda image, network, options: np.stack([image] * 3))
    bare = replace(sample(0, size=48), prior=None, rdm=None)
    monkeypatch.setattr(train_stage, "training_samples", lambda data: ([bare], []))
    data = DataOptions(count=1, evaluation=0, rdm_model="some.safetensors")

    def written(**network) -> object:
        config = TrainConfig(network=replace(PRESETS["small"], **network), data=data)
        assert train_stage.write_cascade_samples(config, tmp_path) == 1
        return read_sample(tmp_path / "a00000000.npz")

    assert (written().prior, written().rdm) == (None, None) and asked == []
    first = (tmp_path / "a00000000.npz").stat().st_mtime_ns
    full = written(prior="sgm", rdm=True)
    assert np.isfinite(full.prior).any() and full.rdm.shape == (3, 48, 48) and asked == ["some.safetensors"]
    assert (tmp_path / "a00000000.npz").stat().st_mtime_ns > first
    kept = (tmp_path / "a00000000.npz").stat().st_mtime_ns
    written(prior="sgm", rdm=True)
    assert (tmp_path / "a00000000.npz").stat().st_mtime_ns == kept


def test_a_sample_that_is_being_written_is_no_sample(tmp_path):
    from rsmvs.io.samples import SampleFiles

    write_sample(tmp_path / "1.npz", sample(0, size=32))
    (tmp_path / ".7.2.npz").write_bytes(b"half")
    assert len(SampleFiles(tmp_path)) == 1
