"""Relative multi-head attention over a buffer of keys.

All positions are indices into one buffer, so that the distance between a query and a key is the
difference of their indices.

Axes: B batch, L queries, S keys, P distances, H heads, D width, E head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retain.nn.positions import RelativePositions


class RelativeAttention(nn.Module):
    """Attention with content and position scores, as in Transformer-XL.

    ``score_ij = ((q_i + u) . k_j + (q_i + v) . W_R r(i - j)) / sqrt(E)`` with u and v shared by all
    layers (Dai et al. 2019, section 3.3). No projection has a bias.

    Args:
        width: Width D of the tokens.
        num_heads: Number of heads H.
        head_width: Width E of one head.
        dropout: Dropout of the output and of the positions.
        attention_dropout: Dropout of the attention weights.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_width: int,
        dropout: float,
        attention_dropout: float,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.head_width = head_width
        inner = num_heads * head_width
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.position = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def project(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values of the tokens, each [B, H, L, E]."""
        batch, length, _ = x_BLD.shape
        qkv = self.qkv(x_BLD).view(batch, length, 3, self.num_heads, self.head_width)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return query, key, value

    def attend(
        self,
        query_BHLE: Tensor,
        key_BHSE: Tensor,
        value_BHSE: Tensor,
        *,
        start: int | Tensor,
        positions: RelativePositions,
        content_bias_HE: Tensor,
        position_bias_HE: Tensor,
        blocked: Tensor,
    ) -> Tensor:
        """Reads the values.

        Args:
            query_BHLE: Queries at the buffer indices start, start+1, ...
            key_BHSE: Keys at the buffer indices 0, 1, ...
            value_BHSE: Values of the keys.
            start: Index of the first query; one number, or one for each row.
            positions: Encodings of distances.
            content_bias_HE: The bias u.
            position_bias_HE: The bias v.
            blocked: True where a query must not see a key; broadcastable to [B, H, L, S].

        Returns:
            The result of the output projection, after dropout, [B, L, D].
        """
        batch, _, length, _ = query_BHLE.shape
        scale = 1.0 / math.sqrt(self.head_width)
        score = self._position_score(
            (query_BHLE + position_bias_HE[:, None]) * scale, key_BHSE.shape[2], start, positions
        )
        score = score.masked_fill(blocked, -math.inf)
        query = (query_BHLE + content_bias_HE[:, None]) * scale
        weight = torch.softmax(score + query @ key_BHSE.transpose(2, 3), dim=-1)
        weight = self.attention_dropout(weight)
        read = (weight @ value_BHSE).transpose(1, 2).reshape(batch, length, -1)
        return self.dropout(self.out(read))

    def _position_score(
        self, query_BHLE: Tensor, num_keys: int, start: int | Tensor, positions: RelativePositions
    ) -> Tensor:
        length = query_BHLE.shape[2]
        if isinstance(start, int):
            # Distances from the last query back to key 0, down to the furthest one ahead that an
            # unmasked pair has; what lies beyond is masked, so its score may be anything.
            furthest = start + length - 1
            nearest = max(start - num_keys + 1, -positions.ahead)
            score = query_BHLE @ self._distances(positions, furthest, nearest)
            return skew(score, num_keys)
        furthest = int(start.max()) + length - 1
        score = query_BHLE @ self._distances(positions, furthest, -positions.ahead)
        index = start[:, None, None] + torch.arange(length, device=score.device)[:, None]
        distance = index - torch.arange(num_keys, device=score.device)
        column = (furthest - distance).clamp(0, score.shape[-1] - 1)
        return score.gather(-1, column[:, None].expand(-1, self.num_heads, -1, -1))

    def _distances(self, positions: RelativePositions, furthest: int, nearest: int) -> Tensor:
        encoding = self.dropout(positions.between(furthest, nearest))
        projected = self.position(encoding).view(-1, self.num_heads, self.head_width)
        return projected.permute(1, 2, 0)


def skew(score_P: Tensor, num_keys: int) -> Tensor:
    """Moves scores by distance to the places of their keys.

    Args:
        score_P: [..., L, P]: column c of query i is the score at distance ``start + L - 1 - c``.
        num_keys: Number S of keys.

    Returns:
        [..., L, S]: column j of query i is the score at distance ``start + i - j``, which is column
        ``L - 1 - i + j`` of the argument. Columns past its end count as zero.
    """
    *lead, length, columns = score_P.shape
    full = length - 1 + num_keys
    padded = F.pad(score_P, (0, full - columns))
    if length == 1:
        return padded
    # One row further down starts one column further left: read rows that are one shorter.
    flat = padded.reshape(*lead, length * full)
    shifted = flat[..., length - 1 : length - 1 + length * (full - 1)]
    return shifted.reshape(*lead, length, full - 1)[..., :num_keys]
