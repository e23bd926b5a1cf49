"""Steps to tokens, and tokens to steps: the only place that knows their order.

Offline, a step is three tokens: return-to-go, observation, action, and the action is read at the
observation's token. Training lays whole segments out that way. Acting feeds, at each step, the
previous action, then the return-to-go and the observation: the same tokens in the same order, so
that the previous segment is complete, and its memory written, before the next one begins.

Axes: B batch, T steps, L tokens, D width.
"""

from __future__ import annotations

import gymnasium as gym
import torch
from torch import Tensor, nn

from retain.nn.encoders import encode


class ReturnTokens(nn.Module):
    """Steps (return-to-go, observation, action) as three tokens each.

    Args:
        observation_space: Space of one observation.
        action_space: Space of one action.
        width: Width D of a token.
    """

    tokens_per_step = 3
    #: Which tokens of an acting step the caller reads: see `acting`.
    acting_read = (False, False, True)

    def __init__(self, observation_space: gym.Space, action_space: gym.Space, width: int):
        super().__init__()
        self.return_to_go = nn.Linear(1, width)
        self.observation = encode(observation_space, width, what="observation")
        self.action = encode(action_space, width, what="action")

    def segments(
        self, return_to_go_BT: Tensor, observation_BT: Tensor, action_BT: Tensor
    ) -> Tensor:
        """Returns the tokens of whole steps, [B, 3T, D]."""
        tokens = (
            self.return_to_go(return_to_go_BT.unsqueeze(-1)),
            self.observation(observation_BT),
            self.action(action_BT),
        )
        return torch.stack(tokens, dim=2).flatten(1, 2)

    def predictions(self, y_BLD: Tensor) -> Tensor:
        """Picks the outputs at which actions are read out of those of whole steps, [B, T, D]."""
        return y_BLD[:, 1 :: self.tokens_per_step]

    def acting(
        self,
        previous_action_B: Tensor,
        return_to_go_B: Tensor,
        observation_B: Tensor,
        reset_B: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Returns the tokens of one step of acting, and where episodes begin among them.

        A row that begins an episode has no previous action. It is given one all the same, in front
        of the reset, where it belongs to the episode that is over and so changes nothing.

        Args:
            previous_action_B: Actions taken at the last step; anything in rows that begin.
            return_to_go_B: Returns still to come.
            observation_B: Observations now.
            reset_B: True in rows that begin an episode.

        Returns:
            Tokens [B, 3, D], of which the last is to be read, and resets [B, 3].
        """
        tokens = (
            self.action(previous_action_B),
            self.return_to_go(return_to_go_B.unsqueeze(-1)),
            self.observation(observation_B),
        )
        never = torch.zeros_like(reset_B)
        return torch.stack(tokens, dim=1), torch.stack([never, reset_B, never], dim=1)
