"""The state of segment-level recurrence, and how a call works on it.

Axes: B batch, D width, H heads, E head width, M memory tokens, C cached tokens, S buffer places, Q
width of the valve's carry.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from retain.memory import MemoryState, cache, carry, clock, slots, trace
from retain.nn.buffers import Buffers


@dataclass(frozen=True)
class SegmentState(MemoryState):
    """Where a row is: its memory, what it has cached, and how far it is into the segment."""

    memory_BMD: Tensor = slots()
    """The memory that the present segment is read with."""
    carry_BMQ: Tensor = carry()
    """What the valve keeps besides (cells of an LSTM valve); mostly zero wide."""
    written_BMD: Tensor = trace()
    """The outputs at the write tokens of the latest segment that is over."""
    hidden_BCD: tuple[Tensor, ...] = cache()
    """Inputs of each layer in earlier segments, the latest last."""
    keys_BHSE: tuple[Tensor, ...] = cache()
    """Keys of each layer by buffer index; meaningful below cache + M + clock."""
    values_BHSE: tuple[Tensor, ...] = cache()
    """Values of each layer, likewise."""
    inputs_BSD: tuple[Tensor, ...] = cache()
    """Inputs of each layer in the present segment, read tokens first; kept if C > 0."""
    clock_B: Tensor = clock()
    """Tokens read in the present segment, 0 to S - 1."""
    hidden_length_B: Tensor = clock()
    """How many rows of ``hidden_BCD`` are filled, counted from the end."""


class Work(Buffers):
    """The parts of a state while a call is at work on them."""

    keys: list[Tensor]
    values: list[Tensor]
    inputs: list[Tensor]

    def __init__(self, state: SegmentState, donate: bool):
        buffers = {
            "keys": state.keys_BHSE,
            "values": state.values_BHSE,
            "inputs": state.inputs_BSD,
        }
        super().__init__(state.batch_size, donate, **buffers)
        self.memory_BMD, self.carry_BMQ = state.memory_BMD, state.carry_BMQ
        self.written_BMD = state.written_BMD
        self.clock_B, self.hidden_length_B = state.clock_B, state.hidden_length_B
        self.hidden_BCD = list(state.hidden_BCD)

    def state(self) -> SegmentState:
        """Returns the parts as a state again."""
        return SegmentState(
            memory_BMD=self.memory_BMD,
            carry_BMQ=self.carry_BMQ,
            written_BMD=self.written_BMD,
            hidden_BCD=tuple(self.hidden_BCD),
            keys_BHSE=tuple(self.keys),
            values_BHSE=tuple(self.values),
            inputs_BSD=tuple(self.inputs),
            clock_B=self.clock_B,
            hidden_length_B=self.hidden_length_B,
        )
