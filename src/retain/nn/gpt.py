"""The block of GPT-2: normalisation first, biased projections, a fourfold feed-forward layer.

Axes: B batch, L queries, S keys, D width.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

GPTActivation: TypeAlias = Literal["relu", "gelu"]


class GPTBlock(nn.Module):
    """One GPT-2 layer (Radford et al. 2019), with the activation of choice.

    Args:
        width: Width D.
        num_heads: Attention heads; a divisor of the width.
        dropout: Dropout of both sublayers' outputs and of the attention weights.
        activation: ``relu`` (Decision Transformer) or ``gelu`` in its tanh form (GPT-2).
    """

    def __init__(self, width: int, num_heads: int, dropout: float, activation: GPTActivation):
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def project(self, x_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the keys and the values of tokens, each [B, L, D]."""
        return self._keys_and_values(self.norm_attention(x_BLD))

    def _keys_and_values(self, normed_BLD: Tensor) -> tuple[Tensor, Tensor]:
        width = normed_BLD.shape[-1]
        weight, bias = self.qkv.weight[width:], self.qkv.bias[width:]
        key, value = F.linear(normed_BLD, weight, bias).chunk(2, dim=-1)
        return key, value

    def forward(
        self,
        x_BSD: Tensor,
        visible: Tensor | None,
        num_queries: int,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Applies the layer and returns its last tokens only.

        Args:
            x_BSD: Tokens.
            visible: True where a query sees a key, [B or 1, 1, L, S]; None for plain causality,
                which needs as many queries as keys.
            num_queries: L, how many of the last tokens are wanted.
            kept: Keys and values, [B, S, D], if they are known; then `x_BSD` holds the last L
                tokens alone.

        Returns:
            [B, L, D].
        """
        batch, length, width = x_BSD.shape
        x = x_BSD[:, length - num_queries :]
        weight, bias = self.qkv.weight[:width], self.qkv.bias[:width]
        normed = self.norm_attention(x_BSD)
        query = F.linear(normed[:, length - num_queries :], weight, bias)
        key, value = self._keys_and_values(normed) if kept is None else kept

        def heads(tensor: Tensor) -> Tensor:
            return tensor.view(batch, -1, self.num_heads, width // self.num_heads).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            heads(query),
            heads(key),
            heads(value),
            attn_mask=visible,
            is_causal=visible is None,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return self.add(x, attended.transpose(1, 2).reshape(batch, num_queries, width))

    def add(self, x_BLD: Tensor, attended_BLD: Tensor) -> Tensor:
        """Does what follows the attention: its projection, and the feed-forward sublayer."""
        x = x_BLD + self.dropout(self.out(attended_BLD))
        hidden = self.up(self.norm_feed_forward(x))
        hidden = F.relu(hidden) if self.activation == "relu" else F.gelu(hidden, approximate="tanh")
        return x + self.dropout(self.down(hidden))
