"""Segment-level recurrence: the machine under RATE, RMT and Transformer-XL.

A trajectory is read in segments of S tokens. Inside a segment, everything lies in one buffer:

    [ cached tokens C | read tokens M | the segment's tokens S | write tokens M ]

The read and the write tokens are the same vectors, the memory. The segment's tokens see the cache,
the read tokens and their own past. The read tokens see one another only. The write tokens see the
read tokens, the whole segment and one another; nobody sees them. When a segment is full, the write
tokens are run, a subclass makes the next memory from their outputs, and the buffer starts anew.

A call brings a whole segment (training) or a part of one (acting), whose keys and values are stored
until the rest comes. Where all rows stand at the same place in their segments, the read tokens go
through the layers with the segment's first token and the write tokens with its last. Where they do
not, each kind goes alone, for the rows it is due in; the numbers are the same.

Axes: B batch, L tokens, D width, H heads, E head width, M memory tokens, C cached tokens, Q width
of the valve's carry.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from retain.memory import SequenceModel
from retain.nn.attention import RelativeAttention
from retain.nn.blocks import Block
from retain.nn.positions import Positions
from retain.nn.segment_config import SegmentConfig as SegmentConfig
from retain.nn.segment_config import check_sizes
from retain.nn.segment_mask import SegmentMask
from retain.nn.segment_state import SegmentState, Work

KEPT = ("keys", "values")


class SegmentRecurrence(SequenceModel):
    """A transformer over segments that hands a memory and a cache from one to the next.

    A subclass says what the first memory is and how the next one is made.

    Args:
        config: The transformer.
        tokens_per_step: Tokens that make one step of the environment.
        num_memory_tokens: M; 0 for none.
        cache_length: C, in tokens; 0 for none.
        carry_width: Width Q of what the subclass keeps beside the memory.

    Raises:
        ConfigError: If a number does not make sense.
    """

    segmented = True

    def __init__(
        self,
        config: SegmentConfig,
        *,
        tokens_per_step: int,
        num_memory_tokens: int,
        cache_length: int,
        carry_width: int = 0,
    ):
        super().__init__()
        check_sizes(config, num_memory_tokens, cache_length)
        self.config = config
        self.width = config.width
        self.segment_length = config.context_length * tokens_per_step
        self.num_memory_tokens = num_memory_tokens
        self.cache_length = cache_length
        self.carry_width = carry_width
        self.first_token = cache_length + num_memory_tokens
        self.buffer_length = self.first_token + self.segment_length
        self.positions = Positions(config.width, self.buffer_length + num_memory_tokens)
        shape = (config.num_heads, config.head_width)
        self.content_bias_HE = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))
        self.position_bias_HE = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))
        self.blocks = nn.ModuleList(
            Block(
                config.width,
                kind=config.block,
                feed_forward=config.feed_forward,
                dropout=config.dropout,
                twofold_residual=config.twofold_residual,
            )
            for _ in range(config.num_layers)
        )
        self.attentions = nn.ModuleList(
            RelativeAttention(
                config.width,
                config.num_heads,
                config.head_width,
                config.dropout,
                config.attention_dropout,
            )
            for _ in range(config.num_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.mask = SegmentMask(cache_length, num_memory_tokens, self.segment_length)

    @abstractmethod
    def first_memory(self) -> Tensor:
        """Returns the memory of an episode's first segment, [M, D]."""

    @abstractmethod
    def next_memory(
        self, memory_BMD: Tensor, written_BMD: Tensor, carry_BMQ: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the next segment's memory and carry from the outputs at the write tokens."""

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: with memory tokens, everything."""
        if self.num_memory_tokens:
            return None
        if self.cache_length == 0:
            return self.segment_length
        return self.config.num_layers * (self.segment_length - 1 + self.cache_length) + 1

    def initial_state(self, batch_size: int) -> SegmentState:
        """See `SequenceModel.initial_state`; the buffers are views of one zero until written."""
        memory = self.first_memory()
        layers, heads = self.config.num_layers, self.config.num_heads
        zero = memory.new_zeros(1)
        kept = self.buffer_length - self.cache_length if self.cache_length else 0
        hidden = zero.expand(batch_size, self.cache_length, self.width)
        keys = zero.expand(batch_size, heads, self.buffer_length, self.config.head_width)
        inputs = zero.expand(batch_size, kept, self.width)
        clocks = torch.zeros(batch_size, dtype=torch.long, device=memory.device)
        return SegmentState(
            memory_BMD=memory.expand(batch_size, -1, -1),
            carry_BMQ=zero.expand(batch_size, self.num_memory_tokens, self.carry_width),
            written_BMD=zero.expand(batch_size, self.num_memory_tokens, self.width),
            hidden_BCD=(hidden,) * layers,
            keys_BHSE=(keys,) * layers,
            values_BHSE=(keys,) * layers,
            inputs_BSD=(inputs,) * layers,
            clock_B=clocks,
            hidden_length_B=clocks,
        )

    def forward(
        self,
        x_BLD: Tensor,
        state: SegmentState,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, SegmentState]:
        """See `SequenceModel.forward`."""
        length = x_BLD.shape[1]
        work = Work(state, donate)
        resets = [] if reset_BL is None else reset_BL.any(0).nonzero().flatten().tolist()
        outputs, at, held = [], 0, False
        while at < length:
            if reset_BL is not None and at in resets:
                self._reset(work, reset_BL[:, at])
            clocks = work.clock_B.tolist()
            end = min([length, *_after(resets, at)])
            stop = min(end, at + self.segment_length - max(clocks))
            if held and max(clocks) == 0 and (whole := (end - at) // self.segment_length) > 1:
                x_BSLD = x_BLD[:, at : at + whole * self.segment_length]
                outputs.append(self._several(x_BSLD.unflatten(1, (whole, -1)), work))
                stop, held = at + outputs[-1].shape[1], False
            elif min(clocks) == max(clocks):
                memory = work.memory_BMD
                outputs.append(self._stretch(x_BLD[:, at:stop], work, clocks[0]))
                # Within a segment the memory is the same tensor, and there is nothing to compare.
                closed = work.memory_BMD is not memory
                held = closed and self._may_hold and torch.equal(memory, work.memory_BMD)
            else:
                outputs.append(self._append(x_BLD[:, at:stop], work, clocks))
                full = self.segment_length - (stop - at)
                self._close(work, [row for row, c in enumerate(clocks) if c == full])
            at = stop
        y_BLD = torch.cat(outputs, dim=1) if len(outputs) != 1 else outputs[0]
        return y_BLD, work.state()

    # -- several segments at once -----------------------------------------------------------------

    @property
    def _may_hold(self) -> bool:
        """Whether a segment may leave all that the next one is read with bit for bit as it was."""
        sure = not (self.training or torch.is_grad_enabled())
        return sure and self.cache_length == 0 and self.carry_width == 0

    def _several(self, x_BSLD: Tensor, work: Work) -> Tensor:
        """Reads S segments side by side, as if none changed the memory that they begin with.

        Up to the first one that does change it, and with that one, what is read is right: the
        others before it have handed on what they were given. The rest is left for another call.
        """
        batch, count = x_BSLD.shape[:2]
        memory_BSMD = work.memory_BMD[:, None].expand(-1, count, -1, -1)
        fresh = self.initial_state(batch * count)
        beside = Work(replace(fresh, memory_BMD=memory_BSMD.flatten(0, 1)), donate=False)
        y_BSLD = self._stretch(x_BSLD.flatten(0, 1), beside, 0).unflatten(0, (batch, count))
        after_BSMD = beside.memory_BMD.unflatten(0, (batch, count))
        changed_S = (after_BSMD != memory_BSMD).flatten(2).any(-1).any(0)
        right = min(count, int((~changed_S).cumprod(0).sum()) + 1)
        work.memory_BMD = after_BSMD[:, right - 1].contiguous()
        written_BSMD = beside.written_BMD.unflatten(0, (batch, count))
        work.written_BMD = written_BSMD[:, right - 1].contiguous()
        return y_BSLD[:, :right].flatten(1, 2)

    # -- rows at one place of their segments ------------------------------------------------------

    def _stretch(self, x_BLD: Tensor, work: Work, clock: int) -> Tensor:
        """Reads tokens of the present segment, all of it or a part, in one pass.

        The read tokens go with the first token of the segment, the write tokens with its last.
        """
        memory, tokens, cached = work.memory_BMD, self.num_memory_tokens, self.cache_length
        length = x_BLD.shape[1]
        opens, closes = clock == 0, clock + length == self.segment_length
        # Places of the cache that no row has filled yet are left out.
        first = self.mask.first_filled(work.hidden_length_B)
        sequence = torch.cat([*[memory] * opens, x_BLD, *[memory] * closes], dim=1)
        start = cached if opens else self.first_token + clock
        stop = start + sequence.shape[1]
        mask = self.mask.at_one_place(start, stop, first, work.hidden_length_B)

        def attend(layer: int, normed_BLD: Tensor) -> Tensor:
            query, *new = self._attention(layer).project(normed_BLD)
            if closes:  # nobody reads on in this buffer, so that nothing need be written to it
                key, value = (
                    torch.cat(pair, dim=2) for pair in zip(earlier(layer), new, strict=True)
                )
            else:
                if opens and first < cached:
                    for name, part in zip(KEPT, earlier(layer), strict=True):
                        work.write(name, layer, part, first, dim=2)
                key, value = (
                    work.write(name, layer, part, start, dim=2)[:, :, first:stop]
                    for name, part in zip(KEPT, new, strict=True)
                )
            return self._attend(layer, query, key, value, start, mask, first)

        def earlier(layer: int) -> Sequence[Tensor]:
            if opens:
                return self._project_hidden(layer, work.hidden_BCD[layer][:, first:])[1:]
            return work.keys[layer][:, :, first:start], work.values[layer][:, :, first:start]

        y, inputs = self._layers(self.dropout(sequence), attend)
        if cached:
            for layer, x in enumerate(inputs):
                if closes:
                    ago = [] if opens else [work.inputs[layer][:, : start - cached]]
                    parts = [work.hidden_BCD[layer], *ago, x]
                    work.hidden_BCD[layer] = torch.cat(parts, dim=1)[:, -cached:]
                else:
                    work.write("inputs", layer, x, start - cached, dim=1)
        if not closes:
            work.clock_B = work.clock_B + length
        else:
            work.let_go(*KEPT, "inputs")
            work.clock_B = torch.zeros_like(work.clock_B)
            if cached:
                grown = work.hidden_length_B + self.segment_length + 2 * tokens
                work.hidden_length_B = grown.clamp(max=cached)
            if tokens:
                work.written_BMD = y[:, -tokens:]
                work.memory_BMD, work.carry_BMQ = self.next_memory(
                    memory, work.written_BMD, work.carry_BMQ
                )
        return y.narrow(1, tokens * opens, length)

    # -- rows at different places -----------------------------------------------------------------

    def _append(self, x_BLD: Tensor, work: Work, clocks: list[int]) -> Tensor:
        """Reads tokens that lie within the present segment of every row."""
        self._prime(work, [row for row, c in enumerate(clocks) if c == 0])
        length = x_BLD.shape[1]
        limit = self.first_token + max(clocks) + length
        start = self.first_token + work.clock_B
        mask = self.mask.at_many_places(start, length, limit, work.hidden_length_B)

        def attend(layer: int, normed_BLD: Tensor) -> Tensor:
            query, key, value = self._attention(layer).project(normed_BLD)
            keys = work.write("keys", layer, key, start, dim=2)
            values = work.write("values", layer, value, start, dim=2)
            return self._attend(layer, query, keys[:, :, :limit], values[:, :, :limit], start, mask)

        y, inputs = self._layers(self.dropout(x_BLD), attend)
        if self.cache_length:
            for layer, x in enumerate(inputs):
                work.write("inputs", layer, x, start - self.cache_length, dim=1)
        work.clock_B = work.clock_B + length
        return y

    def _prime(self, work: Work, rows: list[int]) -> None:
        """Fills the buffers of rows at a segment's start: the cache, then the read tokens."""
        if not rows or self.first_token == 0:
            return
        cached = self.cache_length
        some = work.pick(rows)
        if cached:
            for layer in range(self.config.num_layers):
                _, key, value = self._project_hidden(layer, some(work.hidden_BCD[layer]))
                work.write("keys", layer, key, 0, dim=2, rows=rows)
                work.write("values", layer, value, 0, dim=2, rows=rows)

        def attend(layer: int, normed_BLD: Tensor) -> Tensor:
            query, key, value = self._attention(layer).project(normed_BLD)
            work.write("keys", layer, key, cached, dim=2, rows=rows)
            work.write("values", layer, value, cached, dim=2, rows=rows)
            return self._attend(layer, query, key, value, 0, query.new_zeros(()))

        if self.num_memory_tokens:
            _, inputs = self._layers(self.dropout(some(work.memory_BMD)), attend)
            if cached:
                for layer, x in enumerate(inputs):
                    work.write("inputs", layer, x, 0, dim=1, rows=rows)

    def _close(self, work: Work, rows: list[int]) -> None:
        """Ends the segment of rows that have read all of its tokens: runs the write tokens."""
        if not rows:
            return
        some, put = work.pick(rows), work.put(rows)
        memory, cached = some(work.memory_BMD), self.cache_length

        def attend(layer: int, normed_BLD: Tensor) -> Tensor:
            query, key, value = self._attention(layer).project(normed_BLD)
            key = torch.cat([some(work.keys[layer]), key], dim=2)
            value = torch.cat([some(work.values[layer]), value], dim=2)
            mask = self.mask.of_write_tokens()
            return self._attend(layer, query, key, value, self.buffer_length, mask)

        written, inputs = memory, [memory] * self.config.num_layers
        if self.num_memory_tokens:
            written, inputs = self._layers(self.dropout(memory), attend)
        if cached:
            for layer, x in enumerate(inputs):
                parts = [some(work.hidden_BCD[layer]), some(work.inputs[layer]), x]
                latest = torch.cat(parts, dim=1)[:, -cached:]
                work.hidden_BCD[layer] = put(work.hidden_BCD[layer], latest)
            grown = some(work.hidden_length_B) + self.segment_length + 2 * self.num_memory_tokens
            work.hidden_length_B = put(work.hidden_length_B, grown.clamp(max=cached))
        if self.num_memory_tokens:
            next_memory, next_carry = self.next_memory(memory, written, some(work.carry_BMQ))
            work.written_BMD = put(work.written_BMD, written)
            work.memory_BMD = put(work.memory_BMD, next_memory)
            work.carry_BMQ = put(work.carry_BMQ, next_carry)
        work.clock_B = put(work.clock_B, torch.zeros_like(some(work.clock_B)))

    def _reset(self, work: Work, reset_B: Tensor) -> None:
        # Keys, values and inputs need no reset: at clock 0 nothing of them is read.
        fresh = self.initial_state(reset_B.shape[0])
        mask = reset_B[:, None, None]
        work.memory_BMD = torch.where(mask, fresh.memory_BMD, work.memory_BMD)
        work.carry_BMQ = torch.where(mask, fresh.carry_BMQ, work.carry_BMQ)
        work.written_BMD = torch.where(mask, fresh.written_BMD, work.written_BMD)
        work.clock_B = work.clock_B.masked_fill(reset_B, 0)
        work.hidden_length_B = work.hidden_length_B.masked_fill(reset_B, 0)

    # -- shared by both ways -------------------------------------------------------------------

    def _layers(
        self, x_BLD: Tensor, attend: Callable[[int, Tensor], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Runs all layers; returns the outputs and the input of each layer."""
        inputs = []
        for layer, block in enumerate(self.blocks):
            inputs.append(x_BLD)
            x_BLD = block(x_BLD, lambda normed, layer=layer: attend(layer, normed))
        return self.dropout(x_BLD), inputs

    def _attention(self, layer: int) -> RelativeAttention:
        return cast(RelativeAttention, self.attentions[layer])

    def _block(self, layer: int) -> Block:
        return cast(Block, self.blocks[layer])

    def _attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        start: int | Tensor,
        mask: Tensor,
        first: int = 0,
    ) -> Tensor:
        return self._attention(layer).attend(
            query,
            key,
            value,
            start=start,
            first=first,
            positions=self.positions,
            content_bias_HE=self.content_bias_HE,
            position_bias_HE=self.position_bias_HE,
            mask=mask,
        )

    def _project_hidden(self, layer: int, hidden_BCD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Cached inputs pass the same normalisation as the segment's own; the published code leaves
        # it out in the reordered blocks.
        return self._attention(layer).project(self._block(layer).attention_input(hidden_BCD))


def _after(columns: list[int], at: int) -> list[int]:
    return [column for column in columns if column > at][:1]
