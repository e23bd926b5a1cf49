"""A GRU over the tokens of a call, with episodes that begin in the middle of it.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
    starts = [] if reset_BL is None else reset_BL.any(0).nonzero().flatten().tolist()
    stops = [start for start in starts if start] + [x_BLD.shape[1]]
    outputs, at = [], 0
    for stop in stops:
        if reset_BL is not None and at in starts:
            hidden_BD = hidden_BD.masked_fill(reset_BL[:, at, None], 0.0)
        if stop - at == 1:
            # One token is read faster by the cell than by the fused kernel.
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            weights: list[Tensor] = [getattr(gru, name) for name in names]
            hidden_BD = torch.gru_cell(x_BLD[:, at], hidden_BD, *weights)
            outputs.append(hidden_BD[:, None])
        else:
            y_BLD, last = gru(x_BLD[:, at:stop], hidden_BD[None].contiguous())
            outputs.append(y_BLD)
            hidden_BD = last[0]
        at = stop
    return (torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]), hidden_BD
