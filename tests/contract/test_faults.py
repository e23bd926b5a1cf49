"""The laws catch faults: each fault planted here makes the law named beside it fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contract.cases import THREE, Case, rate
from retain.contract.laws import LAWS
from retain.memory import MemoryState
from retain.models import gtrxl_recurrent
from retain.models.decision_transformer import DecisionTransformer
from retain.models.rate import RATE
from retain.nn.ponder import Ponder
from retain.nn.segment_mask import SegmentMask
from retain.nn.segment_state import Work
from retain.nn.segments import SegmentRecurrence
from retain.nn.window import Window

Fault = Callable[[pytest.MonkeyPatch], None]

RATE_CASE = replace(rate("rate", "lstm", cache_length=5), model="rate")
XL_CASE = Case("transformer_xl", {"cache_length": 5}, tight=True, model="transformer_xl")
DT_CASE = Case(
    "decision_transformer",
    {"num_layers": 2},
    tokens_per_step=3,
    context_length=2,
    tight=True,
    model="decision_transformer",
)

GPT2_CASE = Case("gpt2", {"num_layers": 2}, **THREE, tight=True, model="gpt2")
UNIVERSAL_CASE = Case("universal", {"threshold": 0.7}, model="universal")
GRUS_CASE = Case("gtrxl_recurrent", {"cache_length": 3}, model="gtrxl_recurrent")


def _forgotten_reset(field: str) -> Fault:
    def plant(patch: pytest.MonkeyPatch) -> None:
        honest = SegmentRecurrence._reset

        def reset(self: Any, work: Any, reset_B: Tensor) -> None:
            kept = getattr(work, field)
            honest(self, work, reset_B)
            setattr(work, field, kept)

        patch.setattr(SegmentRecurrence, "_reset", reset)

    return plant


def _forward(model_class: type, wrong: Callable[..., Any]) -> Fault:
    """A fault in `forward`: `wrong` is given the honest one, the model, tokens and state."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        honest = model_class.forward  # type: ignore[attr-defined]

        def forward(self: Any, x: Tensor, state: Any, *args: Any, **options: Any) -> Any:
            return wrong(
                lambda x, state: honest(self, x, state, *args, **options), x, state, options
            )

        patch.setattr(model_class, "forward", forward)

    return plant


def _ignored_resets(patch: pytest.MonkeyPatch) -> None:
    honest = DecisionTransformer.forward
    patch.setattr(
        DecisionTransformer, "forward", lambda self, x, s, reset=None, **_: honest(self, x, s)
    )


def _lock_step(honest: Callable[..., Any], x: Tensor, state: Any, _: Any) -> Any:
    return honest(x, replace(state, clock_B=state.clock_B[:1].expand_as(state.clock_B)))


def _unwritten_at_the_end_of_a_call(
    honest: Callable[..., Any], x: Tensor, state: Any, _: Any
) -> Any:
    y, after = honest(x, state)
    if bool((after.clock_B == 0).all()):
        after = replace(after, memory_BMD=state.memory_BMD, carry_BMQ=state.carry_BMQ)
    return y, after


def _blend_of_rows(honest: Callable[..., Any], x: Tensor, state: Any, _: Any) -> Any:
    y, after = honest(x, state)
    return y + 1e-6 * y.mean(0), after


def _graph_cut_between_calls(honest: Callable[..., Any], x: Tensor, state: Any, _: Any) -> Any:
    return honest(x, state.detach())


def _unread_tokens_dropped(
    honest: Callable[..., Any], x: Tensor, state: Any, options: dict[str, Any]
) -> Any:
    read = options.get("read_L")
    return honest(x if read is None else x * torch.tensor(read)[:, None], state)


def _oldest_cache_entry_ignored(patch: pytest.MonkeyPatch) -> None:
    honest = SegmentMask._without_empty

    def without_empty(self: Any, mask: Tensor, filled_B: Tensor, first: int) -> Tensor:
        mask = honest(self, mask, filled_B, first).clone()
        if first == 0:
            mask[..., 0] = -torch.inf
        return mask

    patch.setattr(SegmentMask, "_without_empty", without_empty)


def _layers(wrong: Callable[[Any, Tensor, Callable[[Tensor], Any]], Any]) -> Fault:
    def plant(patch: pytest.MonkeyPatch) -> None:
        honest = SegmentRecurrence._layers
        patch.setattr(
            SegmentRecurrence,
            "_layers",
            lambda self, x, attend: wrong(self, x, lambda x: honest(self, x, attend)),
        )

    return plant


def _oldest_slot_ignored(honest: Callable[..., Any], x: Tensor, state: Any, _: Any) -> Any:
    memory = state.memory_BMD.clone()
    memory[:, 0] = 0.0
    return honest(x, replace(state, memory_BMD=memory))


def _cache_of_the_layer_below(model: Any, x: Tensor, honest: Callable[[Tensor], Any]) -> Any:
    y, inputs = honest(x)
    return y, [inputs[0], *inputs[:-1]]


def _cache_of_the_layer_below_in_whole_segments(
    model: Any, x: Tensor, honest: Callable[[Tensor], Any]
) -> Any:
    whole = x.shape[1] >= model.segment_length
    return (_cache_of_the_layer_below if whole else lambda _, x, honest: honest(x))(
        model, x, honest
    )


def _read_tokens_see_the_segment(patch: pytest.MonkeyPatch) -> None:
    honest = SegmentMask.__init__

    def made(self: Any, cached: int, tokens: int, segment: int) -> None:
        honest(self, cached, tokens, segment)
        self.whole[:tokens, cached + tokens : cached + tokens + segment] = 0.0

    patch.setattr(SegmentMask, "__init__", made)


def _always_in_place(patch: pytest.MonkeyPatch) -> None:
    honest = Work.__init__
    patch.setattr(Work, "__init__", lambda self, state, donate: honest(self, state, True))


def _rows_in_another_order(patch: pytest.MonkeyPatch) -> None:
    honest = Work.pick
    patch.setattr(Work, "pick", lambda self, rows: honest(self, rows[::-1]))


def _memory_detached_between_segments(patch: pytest.MonkeyPatch) -> None:
    honest = RATE.next_memory
    patch.setattr(
        RATE,
        "next_memory",
        lambda self, *args: tuple(tensor.detach() for tensor in honest(self, *args)),
    )


def _valve_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RATE, "next_memory", lambda self, memory, written, carry: (written, carry))


def _detach(patch: pytest.MonkeyPatch, detach: Callable[..., Any]) -> None:
    honest = MemoryState.detach
    patch.setattr(MemoryState, "detach", lambda self, *kinds: detach(self, honest))


def _memory_outside_the_state_dict(patch: pytest.MonkeyPatch) -> None:
    def first_memory(self: Any) -> Tensor:
        if "drawn" not in vars(self):
            vars(self)["drawn"] = torch.randn_like(self.memory_MD)
        return vars(self)["drawn"]

    patch.setattr(RATE, "first_memory", first_memory)


def _segment_closed_with_gradients_only(patch: pytest.MonkeyPatch) -> None:
    honest = RATE.next_memory

    def next_memory(self: Any, memory: Tensor, written: Tensor, carry: Tensor) -> Any:
        if torch.is_grad_enabled():
            return honest(self, memory, written, carry)
        return memory, carry

    patch.setattr(RATE, "next_memory", next_memory)


def _clocks_cast(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        MemoryState,
        "to",
        lambda self, *args: self._map(lambda tensor: tensor.to(*args)),
    )


def _growing_state(honest: Callable[..., Any], x: Tensor, state: Any, _: Any) -> Any:
    y, after = honest(x, state)
    return y, replace(after, inputs_BSD=(*after.inputs_BSD, x.clone()))


def _window_slides_between_calls_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DecisionTransformer, "_room", lambda self, clock, length: length)


def _window_one_step_short(patch: pytest.MonkeyPatch) -> None:
    honest = DecisionTransformer._read

    def read(self: Any, window: Tensor, new: Tensor, clock_B: Tensor) -> Tensor:
        full = clock_B >= self.reach
        inside = clock_B % self.tokens_per_step
        return honest(self, window, new, torch.where(full, inside, clock_B))

    patch.setattr(DecisionTransformer, "_read", read)


def _streaming_window(wrong: Callable[[Window], None]) -> Fault:
    """A fault in what the tokens of a call see."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        honest = Window.__init__

        def init(self: Any, *args: Any, **options: Any) -> None:
            honest(self, *args, **options)
            wrong(self)

        patch.setattr(Window, "__init__", init)

    return plant


def _resets_seen_between_calls_only(window: Window) -> None:
    position_B1 = window.position_BL[:, :1]
    window.position_BL = position_B1 + torch.arange(window.length)


def _past_one_token_short(window: Window) -> None:
    if window.past:
        window.past, window._start = window.past - 1, window._start + 1


def _mask_of_the_first_row(window: Window) -> None:
    window._visible = window.visible[:1]


def _given_or_not(window: Window) -> None:
    window._ours = window._free and all(0 not in kept.stride() for kept in window._kept)


def _halted_tokens_think_on(patch: pytest.MonkeyPatch) -> None:
    """All go on for as long as one does, and the output takes the last state."""
    honest = Ponder.weight

    def weight(self: Any, seen: Tensor, total: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
        weight, halts = honest(self, seen, total, last=last)
        return weight, halts.all().expand_as(halts)

    patch.setattr(Ponder, "weight", weight)


def _scan_ignores_resets(patch: pytest.MonkeyPatch) -> None:
    honest = gtrxl_recurrent.scan
    patch.setattr(gtrxl_recurrent, "scan", lambda gru, x, hidden, _: honest(gru, x, hidden, None))


FAULTS: dict[str, tuple[Case, str, Fault]] = {
    "reset in the middle of a call unseen": (
        GPT2_CASE,
        "reset_is_fresh_start",
        _streaming_window(_resets_seen_between_calls_only),
    ),
    "streaming window one token short": (
        GPT2_CASE,
        "chunk_invariance",
        _streaming_window(_past_one_token_short),
    ),
    "mask of the first row for all": (
        GPT2_CASE,
        "rows_are_independent",
        _streaming_window(_mask_of_the_first_row),
    ),
    "streaming window written though not given": (
        GPT2_CASE,
        "states_are_values",
        _streaming_window(_given_or_not),
    ),
    "tokens ponder as long as their neighbours": (
        UNIVERSAL_CASE,
        "rows_are_independent",
        _halted_tokens_think_on,
    ),
    "hidden states of GRUs not reset": (GRUS_CASE, "reset_is_fresh_start", _scan_ignores_resets),
    "memory not reset": (RATE_CASE, "reset_is_fresh_start", _forgotten_reset("memory_BMD")),
    "valve's carry not reset": (RATE_CASE, "reset_is_fresh_start", _forgotten_reset("carry_BMQ")),
    "clock not reset": (RATE_CASE, "reset_is_fresh_start", _forgotten_reset("clock_B")),
    "cache not reset": (XL_CASE, "reset_is_fresh_start", _forgotten_reset("hidden_length_B")),
    "window not reset": (DT_CASE, "reset_is_fresh_start", _ignored_resets),
    "lock-step clock": (RATE_CASE, "rows_are_independent", _forward(SegmentRecurrence, _lock_step)),
    "lock-step clock in the cuts": (
        RATE_CASE,
        "chunk_invariance",
        _forward(SegmentRecurrence, _lock_step),
    ),
    "lock-step time step": (
        DT_CASE,
        "rows_are_independent",
        _forward(DecisionTransformer, _lock_step),
    ),
    "oldest cache entry ignored": (XL_CASE, "reach", _oldest_cache_entry_ignored),
    "oldest slot ignored": (
        RATE_CASE,
        "memory_is_used",
        _forward(SegmentRecurrence, _oldest_slot_ignored),
    ),
    "window one step short": (DT_CASE, "reach", _window_one_step_short),
    "window slides between calls only": (
        DT_CASE,
        "chunk_invariance",
        _window_slides_between_calls_only,
    ),
    "wrong cached layer": (XL_CASE, "reach", _layers(_cache_of_the_layer_below)),
    "wrong cached layer in one of two ways": (
        RATE_CASE,
        "chunk_invariance",
        _layers(_cache_of_the_layer_below_in_whole_segments),
    ),
    "read tokens see the segment": (RATE_CASE, "causality", _read_tokens_see_the_segment),
    "state changed in place": (RATE_CASE, "states_are_values", _always_in_place),
    "rows in another order": (RATE_CASE, "rows_are_independent", _rows_in_another_order),
    "rows blended": (
        RATE_CASE,
        "rows_are_independent",
        _forward(SegmentRecurrence, _blend_of_rows),
    ),
    "memory unwritten where a call ends": (
        RATE_CASE,
        "chunk_invariance",
        _forward(SegmentRecurrence, _unwritten_at_the_end_of_a_call),
    ),
    "memory detached between segments": (
        RATE_CASE,
        "memory_is_used",
        _memory_detached_between_segments,
    ),
    "graph cut between calls": (
        RATE_CASE,
        "gradients_of_pieces",
        _forward(SegmentRecurrence, _graph_cut_between_calls),
    ),
    "detach forgotten": (
        RATE_CASE,
        "detaching",
        lambda patch: _detach(patch, lambda state, honest: state),
    ),
    "detach too eager": (
        RATE_CASE,
        "detaching",
        lambda patch: _detach(patch, lambda state, honest: honest(state)),
    ),
    "memory outside the state_dict": (
        RATE_CASE,
        "state_dict_round_trip",
        _memory_outside_the_state_dict,
    ),
    "segment closed with gradients only": (
        RATE_CASE,
        "execution_modes",
        _segment_closed_with_gradients_only,
    ),
    "clocks cast": (RATE_CASE, "other_dtypes", _clocks_cast),
    "growing state": (RATE_CASE, "constant_memory", _forward(SegmentRecurrence, _growing_state)),
    "valve left out": (RATE_CASE, "parameters_move", _valve_left_out),
    "unread tokens dropped": (
        RATE_CASE,
        "unread_tokens",
        _forward(SegmentRecurrence, _unread_tokens_dropped),
    ),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch):
    case, law, plant = FAULTS[fault]
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        LAWS[law](case.subject())


def test_every_law_catches_a_fault():
    assert {law for _, law, _ in FAULTS.values()} == set(LAWS)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "case", [RATE_CASE, XL_CASE, DT_CASE, GPT2_CASE, UNIVERSAL_CASE, GRUS_CASE], ids=str
)
def test_without_a_fault_the_laws_hold(case: Case):
    for law in sorted({law for tried, law, _ in FAULTS.values() if tried is case}):
        LAWS[law](case.subject())
