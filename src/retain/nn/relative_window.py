"""Relative attention over a streaming window.

Axes: B batch, L tokens, S places, C width of what is kept, H heads, E head width, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from retain.nn.attention import RelativeAttention
from retain.nn.positions import Positions
from retain.nn.window import Window


class RelativeWindowAttention(nn.Module):
    """Relative attention over a window, with its residual and normalisation: ``LN(x + a(x))``.

    Args:
        width: Width D.
        num_heads: Heads H; a divisor of the width.
        dropout: Dropout of the attention weights.
    """

    def __init__(self, width: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.head_width = num_heads, width // num_heads
        self.attention = RelativeAttention(width, num_heads, self.head_width, 0.0, dropout)
        self.norm = nn.LayerNorm(width)
        self._width = width
        self._positions = Positions(width, 0)
        self._places = 0

    def project(self, x_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Returns queries [B, L, D], and keys and values side by side [B, L, 2D]."""
        query, kept = self.attention.qkv(x_BLD).split([self._width, 2 * self._width], dim=-1)
        return query, kept

    def forward(
        self,
        x_BLD: Tensor,
        query_BLD: Tensor,
        kept_BSC: Tensor,
        window: Window,
        content_bias_HE: Tensor,
        position_bias_HE: Tensor,
    ) -> Tensor:
        """Reads a window.

        Args:
            x_BLD: Tokens.
            query_BLD: Their queries.
            kept_BSC: Keys and values of all places of the call.
            window: What the tokens see.
            content_bias_HE: The bias u of queries against contents.
            position_bias_HE: The bias v of queries against distances.

        Returns:
            ``LN(x + a(x))``, [B, L, D].
        """
        places, heads = kept_BSC.shape[1], (self.num_heads, self.head_width)
        key, value = kept_BSC.unflatten(-1, (2, *heads)).permute(2, 0, 3, 1, 4)
        read = self.attention.attend(
            query_BLD.unflatten(-1, heads).transpose(1, 2),
            key,
            value,
            start=window.past,
            positions=self._up_to(places),
            content_bias_HE=content_bias_HE,
            position_bias_HE=position_bias_HE,
            mask=window.bias(x_BLD),
        )
        return self.norm(x_BLD + read)

    def _up_to(self, places: int) -> Positions:
        """Returns encodings of so many places; the table grows when a longer call comes."""
        if places > self._places:
            self._places = 2 * places
            self._positions = Positions(self._width, self._places)
        return self._positions
