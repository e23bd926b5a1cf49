"""Steps become tokens in one order, in training and in acting."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch

from retain.tokens import ReturnTokens, StepTokenConfig, StepTokens

WIDTH = 6
OBSERVATION, ACTION = gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Discrete(3, start=2)


def _tokens() -> tuple[ReturnTokens, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    steps = {
        "return_to_go_BT": torch.randn(2, 5),
        "observation_BT": torch.randn(2, 5, 2),
        "action_BT": torch.randint(2, 5, (2, 5)),
    }
    return ReturnTokens(OBSERVATION, ACTION, WIDTH), steps


def test_a_step_is_its_return_its_observation_its_action():
    tokens, steps = _tokens()
    x = tokens.segments(**steps)
    assert x.shape == (2, 15, WIDTH)
    for step in range(5):
        expected = (
            tokens.return_to_go(steps["return_to_go_BT"][:, step, None]),
            tokens.observation(steps["observation_BT"][:, step]),
            tokens.action(steps["action_BT"][:, step]),
        )
        for place, token in enumerate(expected):
            torch.testing.assert_close(x[:, 3 * step + place], token)


def test_actions_are_read_at_the_observations():
    tokens, _ = _tokens()
    places = torch.arange(15.0).view(1, 15, 1).expand(2, 15, WIDTH)
    assert tokens.predictions(places)[0, :, 0].tolist() == [1, 4, 7, 10, 13]


def test_acting_feeds_the_previous_action_first():
    tokens, steps = _tokens()
    x = tokens.segments(**steps)
    reset = torch.tensor([True, False])
    acted, reset_BL = tokens.acting(
        steps["action_BT"][:, 1],
        steps["return_to_go_BT"][:, 2],
        steps["observation_BT"][:, 2],
        reset,
    )
    torch.testing.assert_close(acted, x[:, 5:8])
    # The action of the row that begins stands before the reset, in the episode that is over.
    assert reset_BL.tolist() == [[False, True, False], [False, False, False]]
    assert tokens.acting_read == (False, False, True)


def test_every_entry_of_a_discrete_observation_is_learned():
    torch.manual_seed(0)
    tokens = StepTokens(gym.spaces.Discrete(5, start=1), ACTION, WIDTH, StepTokenConfig())
    none = torch.full((5,), 2), torch.zeros(5)
    x_BD = tokens(*none, torch.arange(1, 6), torch.ones(5, dtype=torch.bool))
    assert (x_BD < 0).any()
    x_BD.sum().backward()
    (embedding,) = tokens.observation.parameters()
    assert (embedding.grad != 0).all()
