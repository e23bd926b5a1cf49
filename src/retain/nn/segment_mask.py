"""What the tokens of a segment see of its buffer, as masks that are added to scores.

The buffer is [ cached tokens C | read tokens M | the segment's tokens S | write tokens M ]. The
cache fills from its end, so its first places may hold nothing yet; nobody sees those.

Axes: B batch, L tokens, S places.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SegmentMask(nn.Module):
    """The masks: 0 where a query sees a place, minus infinity where it must not.

    Args:
        cache_length: C, in tokens; 0 for none.
        num_memory_tokens: M; 0 for none.
        segment_length: S, in tokens.
    """

    def __init__(self, cache_length: int, num_memory_tokens: int, segment_length: int):
        super().__init__()
        self.cache_length = cache_length
        tokens, read_and_segment = num_memory_tokens, num_memory_tokens + segment_length
        queries = read_and_segment + tokens
        blocked = torch.ones(queries, cache_length + queries, dtype=torch.bool)
        blocked = blocked.triu(1 + cache_length)
        # Read and write tokens see their own kind whole, and not the cache.
        for memory in (slice(0, tokens), slice(read_and_segment, queries)):
            blocked[memory, cache_length + memory.start : cache_length + memory.stop] = False
            blocked[memory, :cache_length] = True
        self.whole: Tensor
        self.register_buffer("whole", _mask(blocked), persistent=False)

    def first_filled(self, filled_B: Tensor) -> int:
        """Returns the first place of the cache that some row has filled; C if there is none.

        Args:
            filled_B: Tokens in the cache of each row.
        """
        if self.cache_length == 0:
            return 0
        return self.cache_length - int(filled_B.max())

    def at_one_place(self, start: int, stop: int, first: int, filled_B: Tensor) -> Tensor:
        """Returns the mask of the queries from `start` on, which are at one place in all rows.

        Args:
            start: Place of the first query, behind the cache.
            stop: Place after the last one, and after the last that is seen.
            first: First place that is seen; places before it are left out of the mask.
            filled_B: Tokens in the cache of each row.

        Returns:
            [L, S], or [B, 1, L, S].
        """
        queries = slice(start - self.cache_length, stop - self.cache_length)
        return self._without_empty(self.whole[queries, first:stop], filled_B, first)

    def at_many_places(self, start_B: Tensor, length: int, limit: int, filled_B: Tensor) -> Tensor:
        """Returns the mask of tokens of the segment, which are elsewhere in each row.

        Args:
            start_B: Place of each row's first token.
            length: Tokens L.
            limit: Place after the last that any row sees.
            filled_B: Tokens in the cache of each row.

        Returns:
            [B, 1, L, S].
        """
        columns = torch.arange(limit, device=start_B.device)
        steps = torch.arange(length, device=start_B.device)
        blocked = (columns > (start_B[:, None] + steps)[:, :, None])[:, None]
        return self._without_empty(_mask(blocked).to(self.whole.dtype), filled_B, 0)

    def of_write_tokens(self) -> Tensor:
        """Returns the mask of write tokens, which see all but the cache, [S]; M must not be 0."""
        return self.whole[-1]

    def _without_empty(self, mask: Tensor, filled_B: Tensor, first: int) -> Tensor:
        """Takes away the places of the cache that hold nothing yet; the mask begins at `first`."""
        if first == self.cache_length:
            return mask
        columns = torch.arange(first, first + mask.shape[-1], device=mask.device)
        empty_BS = columns < (self.cache_length - filled_B)[:, None]
        return mask.masked_fill(empty_BS[:, None, None], -math.inf)


def _mask(blocked: Tensor) -> Tensor:
    zeros = torch.zeros(blocked.shape, device=blocked.device)
    return zeros.masked_fill(blocked, -math.inf)
