"""Relative multi-head attention over a buffer of keys.

All positions are indices into one buffer, so that the distance between a query and a key is the
difference of their indices.

Axes: B batch, L queries, S keys, H heads, D width, E head width.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from retain.nn.positions import Positions

#: On a CPU rows are read so few at a time that their scores take about so many bytes: what scores
#: go through, one operation after the other, is then in the processor's cache.
CACHE_BYTES = 2**21


class RelativeAttention(nn.Module):
    """Attention with content and position scores, as in Transformer-XL.

    ``score_ij = ((q_i + u) . k_j + (q_i + v) . W_R r(i - j)) / sqrt(E)`` with u and v shared by all
    layers (Dai et al. 2019, section 3.3). No projection has a bias.

    Args:
        width: Width D of the tokens.
        num_heads: Number of heads H.
        head_width: Width E of one head.
        dropout: Dropout of the output.
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
        first: int = 0,
        positions: Positions,
        content_bias_HE: Tensor,
        position_bias_HE: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Reads the values.

        Args:
            query_BHLE: Queries at the buffer indices start, start+1, ...
            key_BHSE: Keys at the buffer indices first, first+1, ...
            value_BHSE: Values of the keys.
            start: Index of the first query; one number, or one for each row.
            first: Index of the first key.
            positions: Encodings of indices.
            content_bias_HE: The bias u.
            position_bias_HE: The bias v.
            mask: Minus infinity where a query must not see a key, else 0; broadcastable to
                [B, H, L, S].

        Returns:
            The result of the output projection, after dropout, [B, L, D].
        """
        batch, heads, length, width = query_BHLE.shape
        keys = key_BHSE.shape[2]
        start = start - first  # only distances count
        biases = content_bias_HE[:, None], position_bias_HE[:, None]
        # By distance: rows at one place, with what is the same for all of them.
        distance_HEN = None
        if isinstance(start, int) and self._is_cheaper_by_distance(batch, length, keys):
            distance_HEN = self._distances(query_BHLE, keys, start, positions)
        read = partial(self._read, positions=positions, biases=biases, distance_HEN=distance_HEN)
        rows = _rows_at_once(query_BHLE, keys)
        if rows >= batch:
            read_BHLE = read(query_BHLE, key_BHSE, value_BHSE, start, mask)
        else:
            mask, parts = mask.expand(batch, heads, length, keys), []
            for first_row in range(0, batch, rows):
                part = slice(first_row, first_row + rows)
                place = start if isinstance(start, int) else start[part]
                tokens = query_BHLE[part], key_BHSE[part], value_BHSE[part]
                parts.append(read(*tokens, place, mask[part]))
            read_BHLE = torch.cat(parts)
        read_BLI = read_BHLE.transpose(1, 2).reshape(batch, length, heads * width)
        return self.dropout(self.out(read_BLI))

    def _read(
        self,
        query_BHLE: Tensor,
        key_BHSE: Tensor,
        value_BHSE: Tensor,
        start: int | Tensor,
        mask: Tensor,
        *,
        positions: Positions,
        biases: tuple[Tensor, Tensor],
        distance_HEN: Tensor | None,
    ) -> Tensor:
        """Reads the values of some rows, [B, H, L, E]."""
        batch, heads, length, width = query_BHLE.shape
        keys = key_BHSE.shape[2]
        content, position = biases
        if distance_HEN is not None:
            score = self._score_by_distance(query_BHLE + position, keys, distance_HEN)
        else:
            score = self._score_by_place(query_BHLE + position, keys, start, positions)
        score = torch.baddbmm(
            score.view(-1, length, keys),
            (query_BHLE + content).reshape(-1, length, width),
            key_BHSE.reshape(-1, keys, width).transpose(1, 2),
            alpha=self._scale,
        )
        score = score.view(batch, heads, length, keys) + mask
        weight = self.attention_dropout(torch.softmax(score, dim=-1)).view(-1, length, keys)
        read = weight @ value_BHSE.reshape(-1, keys, width)
        return read.view(batch, heads, length, width)

    @property
    def _scale(self) -> float:
        return 1.0 / math.sqrt(self.head_width)

    def _score_by_place(
        self, biased_BHLE: Tensor, keys: int, start: int | Tensor, positions: Positions
    ) -> Tensor:
        """The scores of positions, [B, H, L, S], for any places of the queries."""
        heads, width = biased_BHLE.shape[1], biased_BHLE.shape[3]
        weight_HED = self.position.weight.view(heads, width, -1)
        vector = torch.einsum("bhle,hed->bhld", biased_BHLE, weight_HED * self._scale)
        return positions.turned(vector, start) @ positions.keys(keys, vector).t()

    def _distances(self, query_BHLE: Tensor, keys: int, start: int, positions: Positions) -> Tensor:
        """What queries are multiplied with: of every distance N that occurs, farthest first."""
        _, heads, length, width = query_BHLE.shape
        count = length + keys - 1
        encoding_ND = positions.distances(start + length - 1, count, query_BHLE)
        distance_NI = encoding_ND @ (self.position.weight * self._scale).t()
        return distance_NI.view(count, heads, width).permute(1, 2, 0)

    def _score_by_distance(self, biased_BHLE: Tensor, keys: int, distance_HEN: Tensor) -> Tensor:
        """The same for rows at one place: every query against every distance."""
        batch, heads, length, width = biased_BHLE.shape
        count = length + keys - 1
        # All rows of a head in one product.
        query_HLE = biased_BHLE.transpose(0, 1).reshape(heads, batch * length, width)
        score_HLN = query_HLE @ distance_HEN
        # Query l and key s are start + l - s apart, which is column length - 1 - l + s: the scores
        # of a query lie side by side, and begin one column earlier than those of the one before.
        strides = (length * count, batch * length * count, count - 1, 1)
        score = score_HLN.as_strided((batch, heads, length, keys), strides, length - 1)
        return score.contiguous()

    def _is_cheaper_by_distance(self, batch: int, length: int, keys: int) -> bool:
        """Whether to encode all distances is less work than to turn each query."""
        inner, width = self.position.weight.shape
        distances = (length + keys - 1) * inner * (width + batch * length)
        places = batch * length * width * (inner + self.num_heads * keys)
        return distances < places


def _rows_at_once(query_BHLE: Tensor, keys: int) -> int:
    """How many rows of a batch are read together, see `CACHE_BYTES`; off the CPU all of them."""
    batch, heads, length, _ = query_BHLE.shape
    if query_BHLE.device.type != "cpu":
        return batch
    row = query_BHLE.element_size() * heads * length * keys
    return max(1, CACHE_BYTES // max(1, row))
