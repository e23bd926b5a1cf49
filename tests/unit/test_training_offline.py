"""Offline training: gradients, curriculum, updates, and when it gives up."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_training_loggers import FakeWandb

from retain import api
from retain.agents.sequence_policy import SequencePolicy, count_real
from retain.collection import CollectConfig, collect
from retain.core.errors import ConfigError, DatasetError, MissingExtraError, RunError, TrainingError
from retain.data.pack import open_pack
from retain.data.segments import SegmentSampler
from retain.evaluation import EnvironmentConfig
from retain.models.rate import RATEConfig
from retain.training import offline, parallel, preparation
from retain.training.config import RunConfig
from retain.training.runs import Run
from tiny_runs import metrics, poison, tiny, weights


def trainer(config: RunConfig, folder: Path) -> Any:
    """A trainer of a new run that has done nothing yet."""
    dataset = preparation.dataset_of(config)
    run = preparation.start(config, folder, dataset)
    return offline._Trainer(run, open_pack(dataset), None, parallel.Place())


def first_gradients(config: RunConfig, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics and the gradients of the first update."""
    made = trainer(config, folder)
    made._update = dict
    found = made._one_batch()
    made.logger.close()
    return found, {n: p.grad for n, p in made.policy.named_parameters() if p.grad is not None}


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_what_is_detached_changes_the_gradient_and_not_the_loss(tmp_path: Path) -> None:
    losses, gradients = {}, {}
    for bptt in (None, 3, 1, 2):
        config = tiny(bptt_segments=bptt, batch_size=32)
        found, gradients[bptt] = first_gradients(config, tmp_path / str(bptt))
        losses[bptt] = found
    for bptt in (3, 1, 2):
        assert losses[bptt] == pytest.approx(losses[None], rel=1e-5)
    assert largest_difference(gradients[None], gradients[3]) < 1e-7
    assert largest_difference(gradients[None], gradients[1]) > 1e-3
    assert largest_difference(gradients[None], gradients[2]) > 1e-4
    assert largest_difference(gradients[1], gradients[2]) > 1e-4


@pytest.mark.parametrize("name", ["tmaze/transformer_xl", "tmaze/rate"])
def test_parts_add_up_to_the_gradient_of_the_whole(name: str, tmp_path: Path) -> None:
    config = tiny(name, bptt_segments=1, batch_size=16, memory_cost_warmup=0.0)
    if isinstance(config.model, RATEConfig):
        # Without noise, which would be drawn for other rows where finished ones are left out.
        valve = replace(config.model.valve, dither=0.0)
        config = replace(config, model=replace(config.model, valve=valve))
    found, in_parts = first_gradients(config, tmp_path / "parts")
    # By hand: one graph over all segments, the memory detached between them, one backward pass.
    made = trainer(config, tmp_path / "whole")
    made.logger.close()
    batch, _ = made._begin(made.sampler.sample())
    policy = made.policy.train()
    memory = policy.model.initial_state(16)
    total = torch.zeros(())
    segments = batch["mask"].shape[1] // 4
    assert segments == 3
    for at in range(0, 4 * segments, 4):
        part = {key: value[:, at : at + 4] for key, value in batch.items()}
        before = memory.detach() if at else memory
        prediction, after = policy.predict(part, before)
        every = policy.head.loss(prediction, part["action"], 0.0) * part["mask"]
        total = total + every.sum() / batch["mask"].sum()
        cost_B = policy.model.regularizer(before, after)
        if cost_B is not None:
            whole = count_real(batch["mask"], 4)[1]
            total = total + (cost_B * part["mask"].all(1)).sum() / whole
        memory = after
    total.backward()
    by_hand = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}
    assert float(total.detach()) == pytest.approx(found["train/loss"], rel=1e-5)
    assert largest_difference(in_parts, by_hand) < 1e-6


def test_updates_per_segment_are_counted_one_by_one(tmp_path: Path) -> None:
    config = tiny("tmaze/rate-paper", updates=7, checkpoint_every=2, keep_checkpoints=9)
    assert config.train.update_per_segment
    run = api.train(config, runs=tmp_path, final_evaluation=False)
    assert run.results()["training"]["updates"] == 7  # two batches of three segments, and one more
    lines = metrics(run.folder)
    assert lines[-1]["step"] == 7
    state = torch.load(run.folder / "checkpoints" / "last" / "training.pt", weights_only=True)
    counts = {int(s["step"]) for s in state["optimiser"]["state"].values()}
    assert max(counts) == 7
    # A checkpoint is written between batches only, so that it can be gone on from.
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})


def test_the_curriculum_gives_longer_episodes_from_stage_to_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[int] = []
    sample = offline.sampler(tiny(), open_pack(preparation.dataset_of(tiny())), 0).__class__.sample

    def watched(self: Any) -> Any:
        batch = sample(self)
        longest.append(int(batch.mask_BT.sum(1).max()))
        return batch

    monkeypatch.setattr("retain.data.segments.SegmentSampler.sample", watched)
    config = tiny(updates=9, curriculum=True, batch_size=32)
    api.train(config, runs=tmp_path, final_evaluation=False)
    assert len(longest) == 9
    for stage, part in enumerate((longest[:3], longest[3:6], longest[6:]), start=1):
        assert 4 * (stage - 1) < max(part) <= 4 * stage


def test_the_curriculum_of_doubling_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int | None] = []
    sample = SegmentSampler.sample

    def watched(self: SegmentSampler) -> Any:
        batch = sample(self)
        limits.append(self.longest)
        assert batch.mask_BT.sum(1).max() <= (self.longest or 12)
        return batch

    monkeypatch.setattr(SegmentSampler, "sample", watched)
    config = tiny(updates=12, curriculum_from=3, batch_size=32)  # 12 steps in all
    api.train(config, runs=tmp_path, final_evaluation=False)
    assert limits == [3] * 3 + [6] * 3 + [None] * 6


def test_padding_that_is_left_out_changes_nothing(tmp_path: Path) -> None:
    run = api.train(tiny(updates=1), runs=tmp_path, final_evaluation=False)
    policy = run.policy().eval()
    assert isinstance(policy, SequencePolicy)
    rng = torch.Generator().manual_seed(0)
    for real, steps in ((3, 8), (4, 8), (8, 16), (9, 16), (12, 16)):  # segments of 8
        mask = torch.arange(steps) < torch.tensor([[real], [max(1, real - 2)]])
        batch = {
            "observation": torch.randn(2, steps, 4, generator=rng),
            "action": torch.randint(4, (2, steps), generator=rng),
            "return_to_go": torch.ones(2, steps),
            "mask": mask,
        }
        memory = policy.model.initial_state(2)
        found, _ = policy(batch, memory, 8)
        state, losses = memory, []
        for start in range(0, steps, 8):
            part = {name: value[:, start : start + 8] for name, value in batch.items()}
            prediction, state = policy.predict(part, state)
            losses.append(policy.head.loss(prediction, part["action"], 0.0) * part["mask"])
        whole = torch.cat(losses, dim=1).sum() / mask.sum()
        torch.testing.assert_close(found.prediction, whole)


def test_the_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    config = tiny(updates=6, schedule="linear", warmup_updates=2, learning_rate=0.01)
    run = api.train(config, runs=tmp_path, final_evaluation=False)
    rates = [line["train/learning_rate"] for line in metrics(run.folder)]
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.00775, 0.0055, 0.00325])


def test_gradients_are_clipped_and_may_be_left_alone(tmp_path: Path) -> None:
    norms = {}
    for clip in (None, 1e9, 1e-12):
        config = tiny(updates=2, gradient_clip=clip, weight_decay=0.0, warmup_updates=0)
        run = api.train(config, runs=tmp_path, name=f"clip-{clip}", final_evaluation=False)
        norms[clip] = [line["train/gradient_norm"] for line in metrics(run.folder)]
    assert norms[None] == pytest.approx(norms[1e9])
    assert norms[None][0] == pytest.approx(norms[1e-12][0])  # the norm before clipping
    assert norms[None][1] != pytest.approx(norms[1e-12][1])


def test_the_best_checkpoint_is_that_of_the_best_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = iter([0.2, 0.3, 0.5, 0.996, 0.1, 0.5])
    record = {"metric": "success"}
    monkeypatch.setattr(
        offline, "evaluate_policy", lambda *_, **__: {**record, "mean": next(means)}
    )
    config = tiny(updates=6, evaluate_every=2, checkpoint_every=2, keep_checkpoints=1)
    run = api.train(config, runs=tmp_path, final_evaluation=False)
    folder = run.folder / "checkpoints"
    assert (folder / "best").resolve().name == "step-000004"
    assert (folder / "last").resolve().name == "step-000006"
    assert len(list(folder.glob("step-*"))) == 2
    training = run.results()["training"]
    assert training["best"] == 0.996
    assert training["solved_at_update"] == 4
    assert training["length"] == 12


def test_a_return_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of an environment that reports nothing but successes.
    records = iter([("return", 8.0), ("success", 0.5), ("return", 9.0), ("success", 0.4)])
    monkeypatch.setattr(
        offline, "evaluate_policy",
        lambda *_, **__: dict(zip(("metric", "mean"), next(records), strict=True)),
    )  # fmt: skip
    config = tiny(updates=8, evaluate_every=2, checkpoint_every=2)
    config = replace(config, evaluation=replace(config.evaluation, values_in_training=()))
    run = api.train(config, runs=tmp_path, final_evaluation=False)
    assert (run.folder / "checkpoints" / "best").resolve().name == "step-000004"
    training = run.results()["training"]
    assert training["best"] == 0.5
    assert training["solved_at_update"] is None


def test_learning_happens_and_the_seed_decides(tmp_path: Path) -> None:
    losses = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = replace(tiny(updates=30, warmup_updates=0, learning_rate=5e-3), seed=seed)
        run = api.train(config, runs=tmp_path, name=name, final_evaluation=False)
        losses[name] = [line["train/loss"] for line in metrics(run.folder)]
    assert losses["a"] == losses["b"]
    assert losses["a"][0] != losses["c"][0]
    assert np.mean(losses["a"][-5:]) < np.mean(losses["a"][:5]) - 0.2


def test_half_precision_gives_finite_losses_near_those_of_full(tmp_path: Path) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        run = api.train(
            tiny(updates=4, precision=precision), runs=tmp_path, name=precision,
            final_evaluation=False,
        )  # fmt: skip
        losses[precision] = [line["train/loss"] for line in metrics(run.folder)]
        assert all(t.dtype == torch.float32 for t in weights(run.folder).values())
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)
    assert losses["bf16-mixed"] != losses["32-true"]


def test_half_precision_does_not_round_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, torch.Tensor]] = []
    original = SequencePolicy.forward

    def watch(self: SequencePolicy, batch: dict[str, torch.Tensor], *arguments: Any) -> Any:
        given.append(batch)
        return original(self, batch, *arguments)

    monkeypatch.setattr(SequencePolicy, "forward", watch)
    sample = SegmentSampler.sample
    monkeypatch.setattr(
        SegmentSampler, "sample",
        lambda self: replace(b := sample(self), observations_BTO=b.observations_BTO + 1001.0),
    )  # fmt: skip
    api.train(tiny(updates=1, precision="bf16-mixed"), runs=tmp_path, final_evaluation=False)
    for name in ("observation", "return_to_go"):
        assert given[0][name].dtype == torch.float32, name
    assert (given[0]["observation"] == 1001.0).any()  # the nearest number with eight bits is 1000


def poison_at(monkeypatch: pytest.MonkeyPatch, update: int) -> None:
    """Makes a weight not a number after an update."""
    original = offline._Trainer._update

    def poisoned(self: Any) -> Any:
        found = original(self)
        if self.progress.update == update:
            poison(self.policy)
        return found

    monkeypatch.setattr(offline._Trainer, "_update", poisoned)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison_at(monkeypatch, 5)
    with pytest.raises(TrainingError, match=r"update 6; .*checkpoint: step-000004\."):
        api.train(tiny(updates=9, checkpoint_every=2), runs=tmp_path, name="bad")
    monkeypatch.undo()
    folder = tmp_path / "bad"
    assert all(bool(t.isfinite().all()) for t in weights(folder).values())
    assert metrics(folder)[-1]["step"] == 5
    assert api.evaluate(folder, values=[3])[0]["step"] == 4


def test_weights_that_are_not_numbers_are_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison_at(monkeypatch, 4)  # right before a checkpoint
    with pytest.raises(TrainingError, match=r"a weight is not a number .*step-000002\."):
        api.train(tiny(updates=9, checkpoint_every=2), runs=tmp_path, name="bad")
    assert (tmp_path / "bad" / "checkpoints" / "last").resolve().name == "step-000002"


def test_an_absurd_learning_rate(tmp_path: Path) -> None:
    config = tiny(updates=9, learning_rate=1e30, warmup_updates=0, gradient_clip=None)
    with pytest.raises(TrainingError, match=r"not a number at update \d; .*: none yet\."):
        api.train(config, runs=tmp_path, name="bad")


def test_a_gradient_that_is_not_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tiny(), tmp_path / "run")
    next(made.policy.parameters()).register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(TrainingError, match="the gradient is not a number at update 1"):
        made.train()


# -- what is refused before anything is written --------------------------------------------------


def cart_pole() -> str:
    return collect(CollectConfig(env_id="CartPole-v1", policy="random", episodes=5, num_envs=5))


def refused(config: RunConfig, tmp_path: Path, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        api.train(config, runs=tmp_path / "runs", name="refused")
    assert not (tmp_path / "runs" / "refused").exists()


def test_data_that_does_not_fit_the_environment(tmp_path: Path) -> None:
    config = tiny()
    config = replace(config, data=replace(config.data, dataset=cart_pole()))
    refused(config, tmp_path, ConfigError, r"dataset 'retain/cartpole.*' and retain/TMaze-v0: the")


def test_data_trains_where_it_fits(tmp_path: Path) -> None:
    config = tiny(updates=2)
    config = replace(
        config,
        data=replace(config.data, dataset=cart_pole(), start="random"),
        environment=EnvironmentConfig(id="CartPole-v1"),
        evaluation=replace(
            config.evaluation, parameter=None, values=(), values_in_training=()
        ),
        train=replace(config.train, evaluate_every=1),
    )  # fmt: skip
    run = api.train(config, runs=tmp_path)
    assert run.results()["evaluations"][0]["metric"] == "return"
    assert [k for line in metrics(run.folder) for k in line if "eval" in k] == ["eval/return"] * 2


def test_other_settings_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny()
    model, data = config.model, config.data
    long = replace(config, model=replace(model, context_length=500))
    refused(long, tmp_path, ConfigError, "context_length 500 is longer than the longest episode")
    heads = replace(config, model=replace(model, dropout=1.5))
    refused(heads, tmp_path, ConfigError, "the model cannot be built: .*dropout")
    assert data.collect is not None
    fixed = replace(data.collect, env_kwargs={"corridor_length": 12})
    hard = tiny(curriculum=True)
    hard = replace(hard, data=replace(data, collect=fixed))
    refused(hard, tmp_path, ConfigError, "begins with episodes of up to 4 steps, and the shortest")
    option = replace(config, environment=replace(config.environment, kwargs={"korridor": 3}))
    refused(option, tmp_path, ConfigError, "no option 'korridor'")
    parameter = replace(config, evaluation=replace(config.evaluation, parameter="length"))
    refused(parameter, tmp_path, ConfigError, "no option 'length'")
    refused(tiny(accelerator="cuda"), tmp_path, ConfigError, "train.accelerator=cuda .*not avail")
    refused(tiny(accelerator="gpux"), tmp_path, ConfigError, "invalid accelerator name")
    nothing = replace(config, data=replace(data, collect=None))
    refused(nothing, tmp_path, ConfigError, "the run has no data; give --data.dataset")
    missing = replace(config, data=replace(data, dataset="retain/nowhere-v0"))
    refused(missing, tmp_path, DatasetError, "no dataset 'retain/nowhere-v0'")
    monkeypatch.setitem(sys.modules, "wandb", None)
    refused(tiny(wandb="project"), tmp_path, MissingExtraError, "pip install")


def test_data_that_has_changed_since_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = api.train(tiny(updates=1), runs=tmp_path, final_evaluation=False)
    dataset = preparation.dataset_of(run.config)
    pack = replace(open_pack(dataset), action_space=gym.spaces.Discrete(7))
    monkeypatch.setattr(offline, "open_pack", lambda _: pack)
    with pytest.raises(RunError, match="has other spaces than the data"):
        api.resume(run)


def test_every_logger_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config = tiny(updates=3, log_every=2, tensorboard=True, wandb="project", evaluate_every=3)
    run = api.train(config, runs=tmp_path, name="told", final_evaluation=False)
    lines = metrics(run.folder)
    assert [line["step"] for line in lines] == [2, 3, 3]
    for (step, logged), line in zip(fake.logged, lines, strict=True):
        assert {"step": step, **logged}.items() >= line.items()
    assert fake.told["name"] == "told"
    assert fake.told["config"]["train"]["updates"] == 3
    assert fake.finished == 1
    assert list((run.folder / "tensorboard").iterdir())
    assert Run(run.folder).config == config
