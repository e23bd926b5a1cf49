"""Acting step by step gives the predictions of the segment-parallel pass.

The policy acts in a few environments whose episodes end at different times; then every episode is
read again as training reads it: from a fresh memory, in whole segments, the last one padded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from contract.cases import Case, all_cases
from retain.agents.sequence_policy import SequencePolicy, SequencePolicyConfig
from retain.contract.trials import expect_same

ROWS = 3
DISCRETE = gym.spaces.Discrete(4, start=-1)
BOX = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32))
VECTOR = gym.spaces.Box(-3, 3, (2,), np.float32)
IMAGE = gym.spaces.Box(0, 255, (5, 6, 3), np.uint8)
CASES = all_cases()


@dataclass(frozen=True)
class Acted:
    """All that was seen and done, [B, T, ...]."""

    steps: dict[str, Tensor]
    prediction_BT: Tensor
    reset_BT: Tensor


def _policy(case: Case, observation: gym.Space, action: gym.Space) -> SequencePolicy:
    torch.manual_seed(0)
    config = SequencePolicyConfig(target_return=2.0, return_scale=1.7)
    policy = SequencePolicy(config, case.config(), observation, action).eval()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return policy


def _observations(space: gym.Space, length: int) -> Tensor:
    if isinstance(space, gym.spaces.Discrete):
        return torch.randint(int(space.n), (ROWS, length))
    if space is IMAGE:
        return torch.randint(0, 256, (ROWS, length, *space.shape), dtype=torch.uint8)
    return torch.randn(ROWS, length, *space.shape)


def _some_actions(space: gym.Space) -> Tensor:
    return torch.as_tensor(np.stack([space.sample() for _ in range(ROWS)]))


def _act(policy: SequencePolicy, reset_BT: Tensor, *, donate: bool) -> Acted:
    """Acts with other actions than the chosen ones, so that they vary."""
    policy.action_space.seed(0)
    length = reset_BT.shape[1]
    observation = _observations(policy.observation_space, length)
    reward = torch.randn(ROWS, length)
    state = policy.acting_state(ROWS)
    found: dict[str, list[Tensor]] = {"return_to_go": [], "action": [], "prediction": []}
    with torch.inference_mode():
        for at in range(length):
            _, prediction, state = policy.act(
                observation[:, at], reward[:, at], reset_BT[:, at], state, donate=donate
            )
            action = _some_actions(policy.action_space)
            state = replace(state, previous_action_B=action)
            found["return_to_go"].append(state.return_to_go_B)
            found["action"].append(action)
            found["prediction"].append(prediction)
    tensors = {name: torch.stack(parts, dim=1).clone() for name, parts in found.items()}
    prediction = tensors.pop("prediction")
    return Acted(tensors | {"observation": observation}, prediction, reset_BT)


def _episodes(reset_BT: Tensor) -> Iterator[tuple[int, int, int]]:
    """Yields row, start and stop of every episode."""
    length = reset_BT.shape[1]
    for row, resets in enumerate(reset_BT):
        starts = resets.nonzero().flatten().tolist()
        for start, stop in zip(starts, [*starts[1:], length], strict=True):
            yield row, start, stop


def _padded(tensor: Tensor, length: int) -> Tensor:
    """One episode, [1, T, ...], filled up behind it, where nothing should look."""
    rest = tensor[:1].repeat(length - len(tensor), *[1] * (tensor.dim() - 1))
    return torch.cat([tensor, rest]).unsqueeze(0)


def _expect_training_to_agree(
    policy: SequencePolicy, acted: Acted, context_length: int, tolerance: float
) -> None:
    segment_lengths = set()
    for row, start, stop in _episodes(acted.reset_BT):
        whole = -(-(stop - start) // context_length) * context_length
        episode = {name: _padded(t[row, start:stop], whole) for name, t in acted.steps.items()}
        memory = policy.model.initial_state(1)
        predictions = []
        for at in range(0, whole, context_length):
            segment = {name: t[:, at : at + context_length] for name, t in episode.items()}
            prediction, memory = policy.predict(segment, memory)
            predictions.append(prediction)
        parallel = torch.cat(predictions, dim=1)[0, : stop - start]
        what = f"row {row}, steps {start} to {stop}"
        expect_same(acted.prediction_BT[row, start:stop], parallel, what, tolerance)
        segment_lengths.add(whole // context_length)
    assert max(segment_lengths) > 1  # or no boundary was crossed


def _resets(context_length: int) -> Tensor:
    """Episodes of more than three segments, of exactly two, of odd lengths, and of one step."""
    length = 3 * context_length + 3
    reset = torch.zeros(ROWS, length, dtype=torch.bool)
    reset[:, 0] = True
    reset[1, [context_length + 1, context_length + 2]] = True
    reset[2, 2 * context_length] = True
    return reset


def _check(
    case: Case,
    dtype: torch.dtype,
    observation: gym.Space = VECTOR,
    action: gym.Space = DISCRETE,
    *,
    donate: bool = True,
) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        policy = _policy(case, observation, action)
        acted = _act(policy, _resets(case.context_length), donate=donate)
        with torch.no_grad():
            tolerance = 1e-5 if dtype == torch.float32 else 1e-10
            _expect_training_to_agree(policy, acted, case.context_length, tolerance)
            # And in one call, with the resets marked inside it.
            together, _ = policy.predict(
                acted.steps, policy.model.initial_state(ROWS), acted.reset_BT
            )
            expect_same(acted.prediction_BT, together, "all rows in one call", tolerance)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_agree_in_float64(case: Case):
    _check(case, torch.float64)


@pytest.mark.no_cover
@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_logits_agree_in_float32(case: Case):
    _check(case, torch.float32, donate=False)


@pytest.mark.parametrize("observation", [VECTOR, IMAGE, gym.spaces.Discrete(3)], ids=str)
@pytest.mark.parametrize("action", [DISCRETE, BOX], ids=str)
@pytest.mark.parametrize("name", ["rate", "decision_transformer"])
def test_every_kind_of_space_agrees(name: str, action: gym.Space, observation: gym.Space):
    case = next(case for case in CASES if case.model == name)
    _check(case, torch.float64, observation, action)


def test_a_row_alone_acts_as_it_does_in_a_batch():
    policy = _policy(CASES[0], VECTOR, BOX)
    observation, reward = torch.randn(ROWS, 9, 2), torch.randn(ROWS, 9)
    reset = torch.zeros(ROWS, 9, dtype=torch.bool)
    reset[:, 0] = reset[1, 5] = True
    together, alone = policy.acting_state(ROWS), policy.acting_state(1)
    with torch.inference_mode():
        for at in range(9):
            action, _, together = policy.act(
                observation[:, at], reward[:, at], reset[:, at], together
            )
            own, _, alone = policy.act(observation[1:2, at], reward[1:2, at], reset[1:2, at], alone)
            expect_same(action[1:2], own, f"actions of step {at}", 1e-6)
    expect_same(together.rows([1]).return_to_go_B, alone.return_to_go_B, "returns", 0.0)
