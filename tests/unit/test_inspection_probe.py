"""The probe, the verdict, and where tokens look."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.inspection.attention import AttentionRecorder, segment_attention, segment_model
from retain.inspection.probe import predictions, probe, separation
from retain.inspection.recording import record
from retain.inspection.verdict import verdict
from retain.models import build
from retain.models.rate import RATEConfig
from retain.models.rmt import RMTConfig
from retain.nn import attention
from unit.test_inspection import chain, maze, offline, online

# -- the probe -----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_finds_what_was_planted(classes: int) -> None:
    rng = np.random.default_rng(0)
    label_B = rng.integers(classes, size=60)
    memory_BC = rng.normal(size=(60, 100)) * 0.1
    memory_BC[:, 7 : 7 + classes] += np.eye(classes)[label_B]
    assert (predictions(memory_BC, label_B - 1) == label_B - 1).mean() > 0.95
    # A shift and a scale of the whole memory change nothing.
    again = predictions(1000 + 1e-3 * memory_BC, label_B)
    assert (again == predictions(memory_BC, label_B)).mean() > 0.95


def test_the_probe_is_at_chance_for_noise() -> None:
    rng = np.random.default_rng(1)
    memory_RBC = rng.normal(size=(20, 64, 50))
    label_RB = np.tile(np.arange(64) % 2, (20, 1))
    found = probe(memory_RBC, np.ones((20, 64), dtype=bool), label_RB)
    assert abs(found.accuracy_R.mean() - 0.5) < 0.06
    assert (found.chance_R == 0.5).all()
    constant = predictions(np.ones((64, 3)), label_RB[0])
    assert (constant == label_RB[0]).mean() == 0.5
    for episodes, classes in ((12, 3), (8, 2), (33, 2), (50, 4)):  # no better, and no worse
        label_B = np.arange(episodes) % classes
        guess_B = predictions(np.ones((episodes, 3)), label_B)
        assert (guess_B == label_B).mean() >= np.bincount(label_B).max() / episodes - 1e-9


@given(seed=st.integers(0, 99), rows=st.integers(8, 20))
@settings(max_examples=10)
def test_each_episode_is_judged_by_others(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    memory_BC, label_B = rng.normal(size=(rows, 4)), rng.integers(2, size=rows)
    label_B[:2] = 0, 1
    guess_B = predictions(memory_BC, label_B, num_folds=rows)
    # Left out one by one: an episode's own label does not enter its prediction's fit.
    keep = np.arange(rows) != 3
    mean_C, mean_Y = memory_BC[keep].mean(0), np.eye(2)[label_B[keep]].mean(0)
    centred = memory_BC[keep] - mean_C
    ridge = 1e-3 * np.trace(centred @ centred.T)
    weight = np.linalg.solve(
        centred.T @ centred + ridge * np.eye(4), centred.T @ (np.eye(2)[label_B[keep]] - mean_Y)
    )
    assert guess_B[3] == ((memory_BC[3] - mean_C) @ weight + mean_Y).argmax()


def test_what_cannot_be_probed_is_not_a_number() -> None:
    memory_RBC = np.random.default_rng(0).normal(size=(3, 10, 4))
    running_RB = np.ones((3, 10), dtype=bool)
    running_RB[1, 5:] = False
    label_RB = np.tile(np.arange(10) % 2, (3, 1))
    label_RB[2] = 1
    found = probe(memory_RBC, running_RB, label_RB)
    assert np.isnan(found.accuracy_R).tolist() == [False, True, True]
    assert found.chance_R[2] == 1.0


def test_separation() -> None:
    memory_BC = np.array([[0.0, 0.0], [0.0, 2.0], [3.0, 1.0], [3.0, 1.0]])
    between, within = separation(memory_BC, np.array([5, 5, 9, 9]))
    assert between == pytest.approx(np.sqrt(9 / 2))
    assert within == pytest.approx(np.sqrt(1 / 2) / 2)


# -- the verdict ---------------------------------------------------------------------------------


def findings(accuracy: list[float], **changes: Any) -> dict[str, Any]:
    count = len(accuracy)
    drift = {
        "to_previous": [0.03] * count,
        "exact_share": 0.0,
        "last_change": 10 * (count - 1),
        "last_changes": [10 * (count - 1)],
    }
    found = {"accuracy": accuracy, "chance": [0.5] * count, "between": changes.pop("between", None)}
    found["between"] = found["between"] or [1.0] * count
    found["stderr"] = [0.05] * count
    return {
        "steps": [10 * n for n in range(count)],
        "window": 10,
        "episodes": 1,
        "metric": "success",
        "mean": changes.pop("mean", 1.0),
        "lengths": [10 * count],
        "memory": {"root_mean_square": 1.0},
        "probe": {"goal": found},
        "drift": {**drift, **changes},
    }


def test_verdicts() -> None:
    keeps = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    text = verdict(findings(keeps, last_change=10))
    assert text.startswith("The memory keeps the goal: the probe reads it with 1.00 at step 50; ")
    assert "copied bit for bit from step 10 on" in text
    assert "success is 0.50, so the policy does not use it" in verdict(findings(keeps, mean=0.5))
    assert "moves by 0.03 (3% of its size) a segment" in verdict(findings(keeps))
    assert "in 1 of 1 episodes it changes in the later half (last at step 50)" in verdict(
        findings(keeps, exact_share=0.9)
    )
    falls = verdict(findings([0.5, 1.0, 1.0, 0.9, 0.5, 0.5]))
    assert "forgets the goal: the probe falls to chance at step 40; the memory moves" in falls
    merged = verdict(findings([0.5, 1.0, 0.5, 0.5, 0.5], between=[0.0, 1.0, 0.5, 0.1, 0.01]))
    assert "come together, from 1 apart at step 10 to 0.01" in merged
    # Two hidden things, of which one is known at first alone and the other in the end alone.
    nan = math.nan
    two = findings([0.5, 1.0, nan, nan], between=[0.0, 1.0, nan, nan])
    late = {"accuracy": [nan, nan, 1.0, 0.5], "chance": [0.5] * 4, "between": [nan, nan, 1.0, 0.01]}
    two["probe"]["more"] = {**late, "stderr": [0.05] * 4}
    assert "come together" not in verdict(two)
    assert "has fallen to 0.80 at step" in verdict(findings([0.5, 1.0, 1.0, 0.8]))
    part = verdict(findings([0.5, 0.8, 0.75, 0.8]))
    assert "holds a part of the goal: the probe reads it with 0.80" in part
    # At the end there are too few episodes left to be probed.
    ends = verdict(findings([0.5, 1.0, 1.0, 1.0, nan, nan]))
    assert ends.startswith("The memory keeps the goal: the probe reads it with 1.00 at step 30; ")
    forgets = verdict(findings([0.5, 1.0, 1.0, 0.5, nan, nan]))
    assert "forgets the goal: the probe falls to chance at step 30" in forgets
    assert "is not known" in verdict(findings([nan] * 4))
    little = verdict(findings([0.5, 0.63, 0.61, 0.6]))
    assert "holds little of the goal: the probe reads it with 0.63 at best, at step 10" in little
    fallen = verdict(findings([0.5, 1.0, 0.62, 0.62]))
    assert "forgets the goal: the probe has fallen to 0.62 at step 30" in fallen
    never = verdict(findings([0.5, 0.5, 0.55, 0.5], last_change=-1))
    assert "never holds the goal" in never
    assert "the memory never changes" in never
    assert "end within two segments" in verdict(findings([0.5, 0.5]))
    assert "is not known" in verdict({**findings(keeps), "probe": {}})
    two = findings(keeps)
    two["probe"] = {"goal 1": two["probe"]["goal"], "goal 2": two["probe"]["goal"]}
    assert "keeps the 2 hidden variables" in verdict(two)


# -- attention -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        RATEConfig(width=16, num_heads=2, head_width=8, context_length=3, num_memory_tokens=2),
        RATEConfig(width=16, num_heads=1, head_width=8, context_length=2, cache_length=5),
        RMTConfig(width=16, num_heads=2, head_width=8, context_length=3, num_memory_tokens=3),
    ],
)
@pytest.mark.parametrize("length", [6, 4, 1])
@pytest.mark.parametrize("cache_bytes", [attention.CACHE_BYTES, 1])  # all rows at once; one by one
def test_the_recorded_weights_are_those_of_the_output(
    monkeypatch: pytest.MonkeyPatch, config: Any, length: int, cache_bytes: int
) -> None:
    monkeypatch.setattr(attention, "CACHE_BYTES", cache_bytes)
    torch.manual_seed(0)
    model: Any = build(config, tokens_per_step=2).eval()
    x_BLD, state = torch.randn(2, length, 16), model.initial_state(2)
    values: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    attend = type(model.attentions[0]).attend

    def keep(self: Any, query: Any, key: Any, value: Any, **options: Any) -> Any:
        values.append(value)
        outputs.append(attend(self, query, key, value, **options))
        return outputs[-1]

    with torch.no_grad():
        plain, _ = model(x_BLD, state)
        type(model.attentions[0]).attend = keep
        try:
            with AttentionRecorder(model) as recorder:
                watched, _ = model(x_BLD, state)
        finally:
            type(model.attentions[0]).attend = attend
    torch.testing.assert_close(watched, plain, rtol=0, atol=0)
    assert len(recorder.looks) == len(values) > 0
    for looks, value, output in zip(recorder.looks, values, outputs, strict=True):
        weight = looks.weight_BHLS
        torch.testing.assert_close(weight.sum(-1), torch.ones(weight.shape[:-1]))
        # Free places of the cache have no weight, and no value either.
        free = weight.shape[-1] - value.shape[2]
        assert (weight[..., :free] == 0).all()
        read = (weight[..., free:] @ value).transpose(1, 2).flatten(2)
        again = model.attentions[looks.layer].out(read)
        torch.testing.assert_close(again, output, rtol=1e-5, atol=1e-6)
    with torch.no_grad():  # closed: nothing is noted any more
        before = len(recorder.looks)
        model(x_BLD, state)
    assert len(recorder.looks) == before
    assert all("attend" not in vars(part) for part in model.attentions)


@pytest.mark.parametrize(
    "make",
    [
        lambda: offline(),
        # A cache that is empty at first and then part full: its free places are not read at all.
        lambda: offline("tmaze/rate-paper", cache_length=60),
        lambda: online("rate"),
    ],
)
def test_attention_of_a_segment(make: Any) -> None:
    policy = make()
    model = segment_model(policy)
    assert model is not None
    window = model.config.context_length
    env = maze(1) if model.segment_length > window else chain(1)
    found = record(policy, env, [3], window=window)
    for stretch in [*found.windows, found.last_window]:
        assert stretch is not None
        looks = segment_attention(policy, stretch)
        assert looks is not None
        assert looks.to_memory_NT.shape == (1, window)
        np.testing.assert_allclose(looks.write_NMS.sum(axis=2), 1.0, rtol=1e-5)
        assert ((looks.to_memory_NT > 0) & (looks.to_memory_NT < 1)).all()
        own = looks.write_NMS[:, :, model.cache_length :]
        assert (own > 0).all()  # the read tokens, the segment, one another
        np.testing.assert_allclose(own.sum(axis=2), 1.0, rtol=1e-5)  # and never the cache


@pytest.mark.parametrize("window", [2, 6, 8])
def test_what_is_not_one_segment_has_no_attention(window: int) -> None:
    """It may hold two, and which one is looked at would not be told."""
    policy = offline()
    found = record(policy, maze(1, min_corridor_length=14), [3], window=window)
    assert found.windows
    assert [segment_attention(policy, stretch) for stretch in found.windows] == [None] * len(
        found.windows
    )


def test_the_segment_at_once_shows_the_same_write_tokens() -> None:
    policy: Any = offline()
    env = maze(1, min_corridor_length=14)
    found = record(policy, env, [3], window=4)
    looks = segment_attention(policy, found.windows[0])
    assert looks is not None
    window = found.windows[0]
    batch = {
        "observation": torch.tensor(window.observations_T[None, :4]),
        "action": torch.tensor(window.actions_T[None, :4]),
        "return_to_go": torch.ones(1, 4),
    }
    with torch.no_grad(), AttentionRecorder(policy.model) as recorder:
        policy.predict(batch, policy.model.initial_state(1))
    tokens = policy.model.num_memory_tokens
    weight_LS = recorder.looks[0].weight_BHLS[0].mean(dim=0)
    np.testing.assert_allclose(looks.write_NMS[0], weight_LS[-tokens:], rtol=1e-4, atol=1e-6)


def test_models_without_write_tokens_have_no_such_figure() -> None:
    policy = online("lstm")
    found = record(policy, chain(1), [3], window=4)
    assert segment_attention(policy, found.windows[0]) is None
