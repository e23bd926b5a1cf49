"""A streaming sliding window: each token reads the latest W tokens of its episode, itself included.

All rows are given equally many tokens in a call. So the tokens of all rows lie side by side on one
axis of places, and the age of a place is the same in every row; rows differ only in how far back
their episode goes. A reset in the middle of a call is therefore nothing but a mask, and a call of
any length is one batched attention, without a loop over tokens:

    token l at place past + l sees the place s if 0 <= past + l - s <= min(position_l, W - 1)

Between calls, what a layer made of the latest W - 1 tokens is kept (its keys and values, say). The
buffer for it grows by doubling up to a little more than W places. With a donated state and without
gradients a token is written into the buffer and nothing is copied, but once in W/4 tokens, when
the buffer is full and its newer part moves to the front.

Axes: B batch, L tokens of the call, S places (kept, then those of the call), C width of what is
kept, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig, SequenceModel, cache, clock
from retain.nn.checks import check_positive

S = TypeVar("S", bound="WindowState")

#: Places of a buffer at first.
FIRST_PLACES = 64

#: Tokens that are always read at once.
SHORTEST_PIECE = 256


@dataclass(frozen=True)
class WindowState(MemoryState):
    """What each layer keeps of the latest tokens, and how far each row is into its episode."""

    kept_BSC: tuple[Tensor, ...] = cache()
    """What each layer keeps, oldest first; places from `end_B` on are still free."""
    end_B: Tensor = clock()
    """Places that are filled; the same number in all rows."""
    clock_B: Tensor = clock()
    """Tokens since the episode began; a row reads no more than so many of the filled places."""

    def where(self, mask_B: Tensor, other: Self) -> Self:
        """See `MemoryState.where`; the two may have kept unequally many tokens."""
        places = max(int(self.end_B[0]), int(other.end_B[0]))
        return MemoryState.where(self._filled(places), mask_B, other._filled(places))

    def _filled(self, places: int) -> Self:
        """Returns the state with so many places, all filled; what is added in front, none reads."""
        end = int(self.end_B[0])
        kept = tuple(F.pad(part[:, :end], (0, 0, places - end, 0)) for part in self.kept_BSC)
        return replace(self, kept_BSC=kept, end_B=torch.full_like(self.end_B, places))


class Window:
    """The window during one call: where its tokens stand, what they see, and what is kept.

    Args:
        state: The state before the call.
        length: Tokens in the call, L.
        size: W, the tokens that one reads.
        reset_BL: True where a token begins an episode; None for nowhere.
        donate: Whether the state's buffers may be written to.
    """

    def __init__(
        self,
        state: WindowState,
        length: int,
        size: int,
        reset_BL: Tensor | None = None,
        *,
        donate: bool = False,
    ):
        self.size, self.length, self.batch = size, length, state.clock_B.shape[0]
        self.reset_BL = reset_BL
        self.position_BL = _positions(state.clock_B, length, reset_BL)
        """Tokens of the episode before each; one row if it is the same in all."""
        oldest = int(self.position_BL[:, 0].max())
        end = int(state.end_B[0])
        self.past = min(end, size - 1, oldest)
        """Kept places that are read in this call."""
        # What no row will read again need not be moved along.
        self._start = end - self.past if self.past else 0
        self._free = not torch.is_grad_enabled()
        self._kept = list(state.kept_BSC)
        # Of all layers or of none, so that they stay side by side.
        self._ours = donate and self._free and all(map(_writable, self._kept))
        self._end = 0
        self._visible: Tensor | None = None
        first_call = self.past == 0 and length <= size and self.position_BL.shape[0] == 1
        self.causal = first_call and not (reset_BL is not None and _resets_inside(self.position_BL))
        """Each token sees all tokens of the call up to itself, and there are no others."""
        sees_all = length == 1 and int(self.position_BL.min()) >= self.past
        self.masked = not (sees_all or self.causal)
        """Whether `visible` is needed."""

    def ages(self) -> Tensor:
        """Returns how many tokens before a token of the call a place is, [L, S]; or minus after."""
        device = self.position_BL.device
        place = torch.arange(self.past + self.length, device=device)
        return place[self.past :, None] - place

    @property
    def visible(self) -> Tensor:
        """True where a token of the call sees a place, [B or 1, L, S]."""
        if self._visible is None:
            age_LS = self.ages()
            oldest_BL = self.position_BL.clamp(max=self.size - 1)
            self._visible = (age_LS >= 0) & (age_LS <= oldest_BL[:, :, None])
        return self._visible

    def bias(self, like: Tensor) -> Tensor:
        """Returns 0 where a token sees a place and minus infinity elsewhere, [B or 1, 1, L, S]."""
        if not (self.masked or self.causal):
            return like.new_zeros(1, 1, 1, 1)
        visible = self.visible[:, None]
        return like.new_zeros(visible.shape).masked_fill_(~visible, -torch.inf)

    def extend(self, layer: int, new_BLC: Tensor) -> Tensor:
        """Adds to a layer what it makes of the call's tokens; once a layer.

        Returns:
            What is kept of all places of this call, [B, S, C].
        """
        past, start = self.past, self._start
        need = past + self.length
        # A whole episode in one call (training, targets) is taken as it is, without a buffer.
        step_by_step = past > 0 or self.length == 1
        if step_by_step and self._free and need <= _most_places(self.size):
            return self._write(layer, new_BLC)
        all_BSC = new_BLC
        if past:
            old_BSC = self._kept[layer]
            if past < old_BSC.shape[1]:
                old_BSC = old_BSC[:, start : start + past]
            all_BSC = torch.cat([old_BSC.to(new_BLC.dtype), new_BLC], dim=1)
        self._end = min(need, self.size - 1)
        self._kept[layer] = all_BSC[:, need - self._end :]
        return all_BSC

    def _write(self, layer: int, new_BLC: Tensor) -> Tensor:
        """Writes into the buffer if that is ours and has room, else into a new one."""
        buffer, start = self._kept[layer], self._start
        stop = start + self.past
        if not self._ours or stop + self.length > buffer.shape[1]:
            need = self.past + self.length
            places = FIRST_PLACES
            while places < need:
                places *= 2
            old = buffer[:, start:stop]
            places = min(places, _most_places(self.size))
            buffer = new_BLC.new_zeros(self.batch, places, new_BLC.shape[2])
            buffer[:, : self.past] = old
            start, stop = 0, self.past
        self._end = stop + self.length
        buffer[:, stop : self._end] = new_BLC
        self._kept[layer] = buffer
        return buffer[:, start : self._end].to(new_BLC.dtype)

    def after(self, make: Callable[..., S], **more: Tensor) -> S:
        """Returns the state after the call, in which every layer has been extended.

        Args:
            make: The class of the state.
            **more: Its further fields.
        """
        clock_B = (self.position_BL[:, -1] + 1).expand(self.batch)
        end_B = torch.full_like(clock_B, self._end)
        return make(kept_BSC=tuple(self._kept), end_B=end_B, clock_B=clock_B, **more)


class WindowMemory(SequenceModel):
    """A model whose state holds a sliding window.

    Args:
        size: W, the tokens that a layer reads.
        num_kept: Layers that keep something.
        kept_width: Width C of what each keeps.
    """

    def __init__(self, *, size: int, num_kept: int, kept_width: int):
        super().__init__()
        self.window_size = size
        self._num_kept = num_kept
        self._kept_width = kept_width

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: a layer on a layer sees W - 1 tokens further."""
        return self._num_kept * (self.window_size - 1) + 1

    @property
    def piece_length(self) -> int:
        """Tokens that are read at once; longer calls are read piece by piece.

        All at once would score every token against the whole call, of which it sees a window.
        """
        return max(SHORTEST_PIECE, 2 * self.window_size)

    def forward(
        self,
        x_BLD: Tensor,
        state: Any,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, Any]:
        """See `SequenceModel.forward`; every output is made."""
        outputs, at = [], 0
        for piece_BLD in x_BLD.split(self.piece_length, dim=1):
            stop = at + piece_BLD.shape[1]
            reset = None if reset_BL is None else reset_BL[:, at:stop]
            # A state in the middle of the call is nobody else's.
            given = donate or at > 0
            window = Window(state, stop - at, self.window_size, reset, donate=given)
            y_BLD, state = self.piece(piece_BLD, state, window)
            outputs.append(y_BLD)
            at = stop
        return (torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]), state

    @abstractmethod
    def piece(self, x_BLD: Tensor, state: Any, window: Window) -> tuple[Tensor, Any]:
        """Reads a piece of a call.

        Args:
            x_BLD: The tokens.
            state: The state before them; its window is in `window`.
            window: The window, of which every layer is to be extended.

        Returns:
            The outputs, [B, L, D], and the state after them.
        """

    def empty(self, batch_size: int, make: Callable[..., S], **more: Tensor) -> S:
        """Returns a state with an empty window.

        Args:
            batch_size: Rows B.
            make: The class of the state.
            **more: Its further fields.
        """
        like = next(self.parameters())
        places = min(FIRST_PLACES, _most_places(self.window_size))
        # One zero seen many times over; the first token written makes a buffer of it.
        kept = like.new_zeros(1, 1, 1).expand(batch_size, places, self._kept_width)
        clock_B = torch.zeros(batch_size, dtype=torch.long, device=like.device)
        return make(
            kept_BSC=(kept,) * self._num_kept, end_B=clock_B, clock_B=clock_B.clone(), **more
        )


class WindowModel(WindowMemory):
    """A model whose state is a sliding window and nothing else.

    A subclass reads the tokens of a call in `read`, in which it extends every layer of the window.
    """

    def initial_state(self, batch_size: int) -> WindowState:
        """See `SequenceModel.initial_state`: an empty window."""
        return self.empty(batch_size, WindowState)

    def later_state(self, read_before_B: Tensor) -> WindowState:
        """See `SequenceModel.later_state`: an empty window, later in the episode."""
        return replace(self.initial_state(len(read_before_B)), clock_B=read_before_B.clone())

    @abstractmethod
    def read(self, x_BLD: Tensor, window: Window) -> Tensor:
        """Reads the tokens of a call and returns the outputs, [B, L, D]."""

    def piece(self, x_BLD: Tensor, state: WindowState, window: Window) -> tuple[Tensor, Any]:
        """See `WindowMemory.piece`."""
        return self.read(x_BLD, window), window.after(WindowState)


def attend(
    query_BLD: Tensor, kept_BSC: Tensor, window: Window, *, num_heads: int, dropout: float = 0.0
) -> Tensor:
    """Scaled dot-product attention over a window.

    Args:
        query_BLD: Queries of the call's tokens.
        kept_BSC: Keys and values side by side, C = 2D.
        window: What the tokens see.
        num_heads: Heads; a divisor of D.
        dropout: Dropout of the attention weights.

    Returns:
        [B, L, D].
    """

    def heads(tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    key, value = kept_BSC.chunk(2, dim=-1)
    attended = F.scaled_dot_product_attention(
        heads(query_BLD),
        heads(key),
        heads(value),
        attn_mask=window.visible[:, None] if window.masked else None,
        is_causal=window.causal,
        dropout_p=dropout,
    )
    return attended.transpose(1, 2).flatten(2)


def check_window(config: ModelConfig, *names: str, even: bool = False) -> None:
    """Checks the sizes that the models with a window share, and further positive fields.

    Args:
        config: The settings; `num_heads` is among them.
        *names: Further fields that must be at least 1.
        even: Whether the width must be even, for sines in pairs with cosines.

    Raises:
        ConfigError: If a number does not make sense.
    """
    check_positive(config, "width", "context_length", "num_heads", *names)
    num_heads = config.num_heads  # type: ignore[attr-defined]
    if config.width % num_heads:
        raise ConfigError(
            f"model.num_heads={num_heads} does not divide model.width={config.width}; "
            "choose a divisor"
        )
    if even and config.width % 2:
        raise ConfigError(f"model.width={config.width} is odd; sine positions need an even width")


def _positions(clock_B: Tensor, length: int, reset_BL: Tensor | None) -> Tensor:
    """Returns the tokens of the episode before each, [B, L], or [1, L] if all rows agree."""
    step_L = torch.arange(length, device=clock_B.device)
    position_BL = clock_B[:, None] + step_L
    if reset_BL is not None and bool(reset_BL.any()):
        latest_BL = torch.where(reset_BL, step_L, -1).cummax(dim=1).values
        position_BL = torch.where(latest_BL < 0, position_BL, step_L - latest_BL)
        agree = (position_BL == position_BL[:1]).all()
    else:
        agree = (clock_B == clock_B[0]).all()
    return position_BL[:1] if bool(agree) else position_BL


def _resets_inside(position_BL: Tensor) -> bool:
    return bool((position_BL[:, 1:] == 0).any())


def _most_places(size: int) -> int:
    """Places of a full-grown buffer: those that are read, and some to write into."""
    return size - 1 + size // 4 + 8


def _writable(tensor: Tensor) -> bool:
    # A buffer never written yet is a view of one zero; what awaits a gradient must stay; and torch
    # lets nobody write to what inference mode has made, outside it.
    return (
        0 not in tensor.stride()
        and not tensor.requires_grad
        and (torch.is_inference_mode_enabled() or not tensor.is_inference())
    )
