"""The transformer block of Vaswani et al. 2017, with normalisation after each sublayer.

    y = LN(x + attention(x)),  z = LN(y + feed_forward(y))

The attention itself is the caller's: the block holds its projections.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from retain.nn.blocks import FeedForward


class PostNormBlock(nn.Module):
    """One layer around an attention over keys and values that the caller keeps.

    Args:
        width: Width D.
        feed_forward: Inner width of the feed-forward sublayer.
        dropout: Dropout inside the feed-forward sublayer.
    """

    def __init__(self, width: int, feed_forward: int, dropout: float):
        super().__init__()
        self.width = width
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, feed_forward, dropout)
        self.norm_feed_forward = nn.LayerNorm(width)

    def project(self, x_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Returns queries [B, L, D], and keys and values side by side [B, L, 2D]."""
        query, kept = self.qkv(x_BLD).split([self.width, 2 * self.width], dim=-1)
        return query, kept

    def add(self, x_BLD: Tensor, attended_BLD: Tensor) -> Tensor:
        """Does what follows the attention: its projection, and the feed-forward sublayer."""
        y = self.norm_attention(x_BLD + self.out(attended_BLD))
        return self.norm_feed_forward(y + self.feed_forward(y))


def initialise_xavier(module: nn.Module) -> None:
    """Xavier's weights for every linear map (queries, keys and values each on their own)."""
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias) if module.bias is not None else None
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, PostNormBlock):
        for part in module.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(part)
