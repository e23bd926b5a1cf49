"""Sinusoidal encodings, and scores by distance made from encodings of places.

Axes: B batch, H heads, L queries, S keys, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Positions(nn.Module):
    """Encodings of the places of a buffer, for scores that depend on distance alone.

    The encoding of a number p is ``r(p) = [sin(p w), cos(p w)]`` with ``w_i = 10000^(-2i/D)``, the
    two halves side by side. Transformer-XL scores a query at i and a key at j by ``a . r(i - j)``
    with some vector a of the query (Dai et al. 2019, arXiv 1901.02860, section 3.3). By the
    addition theorems this is ``turned(a, i) . r(j)``, a plain product with the encoding of the
    key's place, and rows of a batch may stand at different places. Where they stand at one place
    and are many, encodings of the distances themselves are the cheaper way (`distances`). Distances
    may be negative: memory tokens attend to each other in both directions. (The published code
    reads another row's score there.)

    Args:
        width: Width D of an encoding; even.
        length: Number of places.
    """

    def __init__(self, width: int, length: int):
        super().__init__()
        # Also where this is built in inference mode: it is trained with afterwards.
        with torch.inference_mode(False), torch.no_grad():
            frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            place_S = torch.arange(length, dtype=torch.float64)
            numbers = {"places": place_S, "distances": torch.cat([place_S.flip(0), -place_S[1:]])}
            # Not buffers: casting to double precision would keep what single had rounded.
            self._exact = {
                name: torch.cat([angle.sin(), angle.cos()], dim=-1)
                for name, number in numbers.items()
                for angle in [number[:, None] * frequency]
            }
        self._rounded: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def turned(self, a_BHLD: Tensor, start: int | Tensor) -> Tensor:
        """Turns vectors of queries by the queries' places.

        Args:
            a_BHLD: The vectors.
            start: Place of the first query; one number, or one for each row of the batch.

        Returns:
            [B, H, L, D], whose product with ``r(j)`` is the score at distance i - j.
        """
        table_SD, length = self._table("places", a_BHLD), a_BHLD.shape[2]
        if isinstance(start, int):
            place = table_SD[start : start + length]
        else:
            index = start[:, None] + torch.arange(length, device=start.device)
            place = table_SD[index][:, None]
        sine, cosine = place.chunk(2, dim=-1)
        of_sine, of_cosine = a_BHLD.chunk(2, dim=-1)
        return torch.cat(
            [of_cosine * sine - of_sine * cosine, of_sine * sine + of_cosine * cosine], dim=-1
        )

    def keys(self, num_keys: int, like: Tensor) -> Tensor:
        """Returns the encodings of the places 0 to S - 1, [S, D], of the type of `like`."""
        return self._table("places", like)[:num_keys]

    def distances(self, farthest: int, count: int, like: Tensor) -> Tensor:
        """Returns the encodings of `farthest`, `farthest` - 1 and so on, [count, D]."""
        table_ND = self._table("distances", like)
        first = len(table_ND) // 2 - farthest
        return table_ND[first : first + count]

    def _table(self, name: str, like: Tensor) -> Tensor:
        key = (name, like.dtype, like.device)
        if key not in self._rounded:
            with torch.inference_mode(False):
                self._rounded[key] = self._exact[name].to(like.device, like.dtype)
        return self._rounded[key]


def sinusoids(position: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Returns sine and cosine of positions, interleaved (Vaswani et al. 2017, section 3.5).

    Args:
        position: Whole numbers, of any shape.
        width: Width D of an encoding; even.
        dtype: Type of the result; the angles are in double precision, so that late positions are
            as exact as early ones.

    Returns:
        ``sin(p w_i)`` at 2i and ``cos(p w_i)`` at 2i + 1 with ``w_i = 10000^(-2i/D)``, [..., D].
    """
    index = torch.arange(0, width, 2, dtype=torch.float64, device=position.device)
    angle = position[..., None] * 10000.0 ** (-index / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).to(dtype)
