"""Transformer blocks over any attention.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

BlockKind: TypeAlias = Literal["trxl", "trxl_i", "gtrxl", "rezero"]


class Gate(nn.Module):
    """The gate of GTrXL: a GRU cell between the residual stream and a sublayer's output.

    ``r = s(W_r y + U_r x), z = s(W_z y + U_z x - b), h = tanh(W_g y + U_g (r * x))``, and the
    result is ``(1 - z) * x + z * h``. The bias b starts at 2, near the identity (Parisotto et al.
    2020, arXiv 1910.06764, section 3.2).

    Args:
        width: Width D.
        bias: Initial value of b.
    """

    def __init__(self, width: int, bias: float = 2.0):
        super().__init__()
        self.from_y = nn.Linear(width, 3 * width, bias=False)
        self.from_x = nn.Linear(width, 2 * width, bias=False)
        self.from_reset_x = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.full((width,), bias))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mixes the stream x with the sublayer's output y, both [..., D]."""
        reset_y, update_y, candidate_y = self.from_y(y).chunk(3, dim=-1)
        reset_x, update_x = self.from_x(x).chunk(2, dim=-1)
        reset = torch.sigmoid(reset_y + reset_x)
        update = torch.sigmoid(update_y + update_x - self.bias)
        candidate = torch.tanh(candidate_y + self.from_reset_x(reset * x))
        return (1 - update) * x + update * candidate


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, Linear, dropout."""

    def __init__(self, width: int, inner: int, dropout: float):
        super().__init__(
            nn.Linear(width, inner),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(inner, width),
            nn.Dropout(dropout),
        )


class Block(nn.Module):
    """One transformer layer around an attention that the caller supplies.

    Kinds: ``trxl`` normalises after each sublayer; ``trxl_i`` before it, with a ReLU on what is
    added (identity-map reordering); ``gtrxl`` is ``trxl_i`` with a `Gate` for each addition;
    ``rezero`` does not normalise and scales what is added by one learned number a layer, which
    starts at 0 (Bachlechner et al. 2021, arXiv 2003.04887).

    Args:
        width: Width D.
        kind: Which of the four.
        feed_forward: Inner width of the feed-forward sublayer, or None to leave it out.
        dropout: Dropout inside the feed-forward sublayer.
        twofold_residual: Adds the attention's input a second time, as the published code does:
            2x + a after which it normalises (trxl), or adds LN(x) + a, x + a (the others).
    """

    def __init__(
        self,
        width: int,
        *,
        kind: BlockKind = "trxl",
        feed_forward: int | None,
        dropout: float,
        twofold_residual: bool = False,
    ):
        super().__init__()
        self.kind = kind
        self.twofold_residual = twofold_residual
        self.feed_forward: FeedForward | None = None
        if feed_forward is not None:
            self.feed_forward = FeedForward(width, feed_forward, dropout)
        if kind == "rezero":
            self.alpha = nn.Parameter(torch.zeros(1))
            return
        self.norm_attention = nn.LayerNorm(width)
        if feed_forward is not None:
            self.norm_feed_forward = nn.LayerNorm(width)
        if kind == "gtrxl":
            self.gate_attention = Gate(width)
            if feed_forward is not None:
                self.gate_feed_forward = Gate(width)

    def attention_input(self, x_BLD: Tensor) -> Tensor:
        """What the attention projects: the tokens, normalised first in the reordered kinds."""
        return x_BLD if self.kind in ("trxl", "rezero") else self.norm_attention(x_BLD)

    def forward(self, x_BLD: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """Applies the layer.

        Args:
            x_BLD: Tokens.
            attend: Maps `attention_input` of the tokens to the attention's output, [B, L, D].

        Returns:
            Tokens, [B, L, D].
        """
        normed = self.attention_input(x_BLD)
        attended = attend(normed)
        if self.twofold_residual:
            attended = attended + normed
        if self.kind == "rezero":
            y = x_BLD + self.alpha * attended
            return y if self.feed_forward is None else y + self.alpha * self.feed_forward(y)
        if self.kind == "trxl":
            y = self.norm_attention(x_BLD + attended)
            if self.feed_forward is None:
                return y
            return self.norm_feed_forward(y + self.feed_forward(y))
        y = self._add(x_BLD, attended, "attention")
        if self.feed_forward is None:
            return y
        return self._add(y, self.feed_forward(self.norm_feed_forward(y)), "feed_forward")

    def _add(self, x: Tensor, update: Tensor, sublayer: str) -> Tensor:
        update = torch.relu(update)
        if self.kind == "gtrxl":
            return getattr(self, f"gate_{sublayer}")(x, update)
        return x + update
