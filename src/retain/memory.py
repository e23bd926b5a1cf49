"""The memory contract: a memory is a sequence model whose state is a value.

    state        = model.initial_state(batch_size)
    y_BLD, state = model(x_BLD, state, reset_BL)

Every model, from a transformer with memory tokens to an LSTM, obeys four laws, and one contract
test holds each registered model to them:

1. *Chunk invariance.* The outputs do not depend on how the tokens are cut into calls.
2. *Reset equals fresh start.* A token marked in ``reset_BL`` is read as the first of an episode.
3. *Rows are independent.* No row's output depends on another row.
4. *Causality.* No output depends on a later token, nor on a token further back than ``reach``.

Axes: B batch rows, L tokens, D width.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias

import torch
from torch import Tensor, nn

Kind: TypeAlias = Literal["carry", "cache", "slots", "clock", "trace"]
KINDS: tuple[Kind, ...] = ("carry", "cache", "slots", "clock", "trace")


def carry() -> Any:
    """A state field that a recurrence carries from token to token (h, c)."""
    return dataclasses.field(metadata={"kind": "carry"})


def cache() -> Any:
    """A state field of things already computed (keys, values, layer inputs)."""
    return dataclasses.field(metadata={"kind": "cache"})


def slots() -> Any:
    """A state field of memory that the model writes (memory tokens)."""
    return dataclasses.field(metadata={"kind": "slots"})


def clock() -> Any:
    """A state field that counts tokens."""
    return dataclasses.field(metadata={"kind": "clock"})


def trace() -> Any:
    """A state field that notes what a call did, for a loss to look at; no later call reads it."""
    return dataclasses.field(metadata={"kind": "trace"})


@dataclass(frozen=True)
class MemoryState:
    """The state of a memory: tensors, or tuples of tensors (one a layer), batch first.

    A state is a value. No operation changes one, so it may be kept, compared, sent and branched;
    the one exception is a call with ``donate=True``, which gives the state away.

    Subclasses are frozen dataclasses whose fields are made by `carry`, `cache`, `slots`, `clock`
    or `trace`.
    """

    def __post_init__(self) -> None:
        """Checks that every field says what kind of state it is."""
        for field in dataclasses.fields(self):
            if field.metadata.get("kind") not in KINDS:
                raise TypeError(f"{type(self).__name__}.{field.name} does not say its kind")

    @property
    def batch_size(self) -> int:
        """The number of rows B."""
        return next(self._tensors())[1].shape[0]

    def where(self, mask_B: Tensor, other: Self) -> Self:
        """Returns the state with this one's rows where the mask is true and `other`'s elsewhere."""

        def choose(mine: Tensor, theirs: Tensor) -> Tensor:
            mask = mask_B.view(-1, *[1] * (mine.dim() - 1))
            return torch.where(mask, mine, theirs)

        return self._map(choose, other)

    def rows(self, index: int | slice | Sequence[int] | Tensor) -> Self:
        """Returns the state of some rows, in the order asked for.

        Args:
            index: A row number, a slice, a list of row numbers, or a tensor of numbers or booleans.
        """
        if isinstance(index, int):
            index = [index]
        device = next(self._tensors())[1].device
        chosen = torch.arange(self.batch_size, device=device)[index]

        def take(tensor: Tensor) -> Tensor:
            if tensor.stride(0) == 0 and tensor.numel():
                # One row seen many times over stays that: nothing is there to be copied.
                return tensor[:1].expand(len(chosen), *tensor.shape[1:])
            return tensor[chosen]  # a copy, so that no two states share what may be given away

        return self._map(take)

    def detach(self, *kinds: Kind) -> Self:
        """Returns the state cut off from the graph that made it.

        Args:
            *kinds: The kinds of fields to detach; all of them when none is named. Trainers detach
                caches after every segment and the rest after as many as are trained through.
        """
        chosen = kinds or KINDS
        return self._map(Tensor.detach, kinds=chosen)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Returns the state moved or cast as by `torch.Tensor.to`; clocks keep their dtype."""

        def move(tensor: Tensor) -> Tensor:
            moved = tensor.to(*args, **kwargs)
            return moved if tensor.is_floating_point() else moved.to(tensor.dtype)

        return self._map(move)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yields every tensor with the name of its field (and number in a tuple)."""
        for _, tensor, name in self._walk():
            yield name, tensor

    def num_bytes(self) -> int:
        """The memory that the state occupies, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for _, tensor in self._tensors())

    def _walk(self) -> Iterator[tuple[Kind, Tensor, str]]:
        for field in dataclasses.fields(self):
            kind, value = field.metadata["kind"], getattr(self, field.name)
            if isinstance(value, tuple):
                for number, tensor in enumerate(value):
                    yield kind, tensor, f"{field.name}.{number}"
            else:
                yield kind, value, field.name

    def _tensors(self) -> Iterator[tuple[Kind, Tensor]]:
        for kind, tensor, _ in self._walk():
            yield kind, tensor

    def _map(
        self, function: Callable[..., Tensor], *others: Self, kinds: tuple[Kind, ...] = KINDS
    ) -> Self:
        changed: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if field.metadata["kind"] not in kinds:
                continue
            values = [getattr(state, field.name) for state in (self, *others)]
            if isinstance(values[0], tuple):
                changed[field.name] = tuple(
                    function(*tensors) for tensors in zip(*values, strict=True)
                )
            else:
                changed[field.name] = function(*values)
        return dataclasses.replace(self, **changed)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What every sequence model is told; each model adds its own fields."""

    registered_name: ClassVar[str] = ""

    width: int = 64
    """Width D of the tokens."""

    context_length: int = 30
    """Steps in a segment, K: how training cuts sequences, and what a transformer sees at once."""


class SequenceModel(nn.Module, ABC):
    """A sequence model over tokens whose state is passed in and handed back.

    A subclass is registered under a name, names its ``Config``, and is built as
    ``Model(config, tokens_per_step=...)``.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig

    segmented: ClassVar[bool] = False
    """Whether it hands a memory on at the ends of segments of `context_length` steps. Recipes then
    make segments of a third of an episode; a segment of all of it would be the last."""

    @property
    @abstractmethod
    def reach(self) -> int | None:
        """How many of the latest tokens (itself included) an output can depend on; None: all."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> MemoryState:
        """Returns the state before the first token of an episode, for `batch_size` rows."""

    def later_state(self, read_before_B: Tensor) -> MemoryState:
        """Returns a state to begin with in the middle of episodes, whose past nobody has read.

        A model that knows how old an episode is counts on from there; the others, such as those
        that know distances alone, begin as at its start.

        Args:
            read_before_B: Tokens of the episode so far, of each row.
        """
        return self.initial_state(len(read_before_B))

    @abstractmethod
    def forward(
        self,
        x_BLD: Tensor,
        state: Any,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, Any]:
        """Reads tokens.

        Args:
            x_BLD: Tokens, float.
            state: The state after the tokens before these.
            reset_BL: True where a token is the first of an episode; None for nowhere.
            read_L: False for tokens whose output the caller will not look at, which the model may
                then leave at zero; None to have all of them.
            donate: The caller gives `state` away and will not use it again. Without gradients the
                model may then reuse its tensors, which saves a copy of the caches at every call.

        Returns:
            The outputs, [B, L, D], and the state after the last token.
        """

    def regularizer(self, before: Any, after: Any) -> Tensor | None:
        """A loss that the memory itself asks for, from the states around one segment.

        Returns:
            The cost of each row, [B], to be averaged over whole segments and added to the loss; or
            None.
        """
        return None
