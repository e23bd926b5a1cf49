"""Recurrences over the tokens of a call, with episodes that begin in the middle of it.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn


def stretches(length: int, reset_BL: Tensor | None) -> Iterator[tuple[slice, Tensor | None]]:
    """Cuts a call where some row begins an episode.

    Args:
        length: Tokens of the call, L.
        reset_BL: True where a token is the first of an episode; None for nowhere.

    Yields:
        The tokens of a stretch, and the rows that begin an episode with its first token, [B]; None
        for none.
    """
    if reset_BL is None:
        yield slice(0, length), None
        return
    # Asking one token costs more than setting nothing to zero.
    starts = [0] if length == 1 else reset_BL.any(0).nonzero().flatten().tolist()
    stops = [start for start in starts if start] + [length]
    at = 0
    for stop in stops:
        yield slice(at, stop), reset_BL[:, at] if at in starts else None
        at = stop


class FusedGRU(nn.GRU):
    """A GRU that cuDNN gives gradients of in any mode."""

    def train(self, mode: bool = True) -> Self:
        """Stays in training mode: cuDNN asks for it, and without dropout inside it is the same."""
        return super().train()


class FusedLSTM(nn.LSTM):
    """An LSTM that cuDNN gives gradients of in any mode."""

    def train(self, mode: bool = True) -> Self:
        """Stays in training mode, as `FusedGRU` does."""
        return super().train()


def scan(
    gru: nn.GRU, x_BLD: Tensor, hidden_BD: Tensor, reset_BL: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Runs a GRU of one layer over tokens, in as few pieces as the resets allow.

    Args:
        gru: The GRU, batch first.
        x_BLD: Tokens.
        hidden_BD: The hidden state before the first token.
        reset_BL: True where a token is read with a hidden state of zero; None for nowhere.

    Returns:
        The hidden states at all tokens, [B, L, D], and the last one, [B, D].
    """
    outputs = []
    for span, begins_B in stretches(x_BLD.shape[1], reset_BL):
        if begins_B is not None:
            hidden_BD = hidden_BD.masked_fill(begins_B[:, None], 0.0)
        stretch_BLD = x_BLD[:, span]
        if stretch_BLD.shape[1] == 1:
            # One token is read faster by the cell than by the fused kernel.
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            weights: list[Tensor] = [getattr(gru, name) for name in names]
            hidden_BD = torch.gru_cell(stretch_BLD[:, 0], hidden_BD, *weights)
            outputs.append(hidden_BD[:, None])
        else:
            y_BLD, last = gru(stretch_BLD, hidden_BD[None].contiguous())
            outputs.append(y_BLD)
            hidden_BD = last[0]
    return (torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]), hidden_BD
