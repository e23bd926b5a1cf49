"""Adaptive computation time: every token decides how often it is thought over.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

ActKind: TypeAlias = Literal["t2t", "weighted"]
Finish: TypeAlias = Callable[[Tensor], Tensor]


class Ponder(nn.Module):
    """Adaptive computation time (Graves 2016, arXiv 1603.08983).

    In ponder step n a token of state s, while it runs, has ``p = sigmoid(w . s + b)``. If the sum
    of its earlier p and this one exceeds the threshold it halts and weighs this step by the
    remainder, 1 - sum; else by p. A token that has halted takes its state along unchanged.

    Two ways to make the output y of the new states s':

    - ``t2t``: ``y <- weight s' + (1 - weight) y``, as tensor2tensor's Universal Transformer does
      (Dehghani et al. 2019, arXiv 1807.03819). Later weights scale earlier contributions down, and
      a token that runs out of steps keeps what it has.
    - ``weighted``: ``y = sum of weight s'``, as Graves has it; the last step weighs the remainder.

    Args:
        width: Width D.
        max_ponder: Steps after which every token stops.
        threshold: Sum of p at which a token halts.
        kind: How the output is made.
    """

    def __init__(self, width: int, max_ponder: int, threshold: float, kind: ActKind):
        super().__init__()
        self.halt = nn.Linear(width, 1)
        self.max_ponder = max_ponder
        self.threshold = threshold
        self.kind = kind

    def forward(
        self, x_BLD: Tensor, step: Callable[[int, Tensor], tuple[Tensor, Finish]]
    ) -> Tensor:
        """Thinks tokens over.

        Args:
            x_BLD: States before the first step.
            step: Called in every step with its number and the states. It keeps what later tokens
                need, also of tokens that have halted, and returns the states from which p is made
                and the function that makes the new states. That one is given the mask of the tokens
                that run, [B, L, 1], and not called when none does.

        Returns:
            The outputs, [B, L, D].
        """
        state, y = x_BLD, torch.zeros_like(x_BLD)
        total = x_BLD.new_zeros(*x_BLD.shape[:2], 1)
        running = torch.ones_like(total, dtype=torch.bool)
        for number in range(self.max_ponder):
            seen, finish = step(number, state)
            if not running.any():
                continue
            weight, halts = self.weight(seen, total, last=number == self.max_ponder - 1)
            state = torch.where(running, finish(running), state)
            weight = torch.where(running, weight, 0.0)
            y = weight * state + ((1 - weight) * y if self.kind == "t2t" else y)
            total = total + weight
            running = running & ~halts
        return y

    def weight(self, seen_BLD: Tensor, total_BL1: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
        """Returns the weight of a step for tokens that run, and which of them halt, [B, L, 1].

        Args:
            seen_BLD: States from which p is made.
            total_BL1: Sum of the weights so far.
            last: Whether it is the last step.
        """
        p = torch.sigmoid(self.halt(seen_BLD))
        halts = total_BL1 + p > self.threshold
        if last and self.kind == "weighted":
            halts = torch.ones_like(halts)
        return torch.where(halts, 1 - total_BL1, p), halts
