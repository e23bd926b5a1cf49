"""The laws of the memory contract, each a function that raises AssertionError where it is broken.

A law is told of a model by a `Subject` and knows nothing of how the model works, so the same laws
hold for every registered model and for models of other packages:

    for law in LAWS.values():
        law(Subject(lambda: MyModel(MyModel.Config(width=16), tokens_per_step=1), 16, segment=4))

Everything is done in float64 and in evaluation mode, with noise on all parameters, so that neither
rounding nor a bias that starts at zero can hide a fault.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from retain.contract.trials import (
    DIFFERENT,
    MODES,
    Subject,
    as_leaves,
    distance,
    expect,
    expect_chunks_agree,
    expect_same,
    many_cuts,
    perturbed,
    random_resets,
    run,
)

#: Where a sequence is cut that is read in one call.
NOWHERE: Sequence[int] = ()


def chunk_invariance(subject: Subject) -> None:
    """The outputs and the final state do not depend on how the tokens are cut into calls."""
    model, segment = subject.model(), subject.segment
    trials = [(1, 3 * segment, 0.0), (3, 3 * segment + 2, 0.1)]
    for seed, (batch, length, share) in enumerate(trials):
        x = subject.tokens(batch, length, seed)
        reset = random_resets(batch, length, seed, share) if share else None
        with torch.no_grad():
            expect_chunks_agree(subject, model, x, reset, many_cuts(length, segment, seed))


def execution_modes(subject: Subject) -> None:
    """Gradients, no gradients, inference, and giving the state away change no output."""
    model, length = subject.model(), 2 * subject.segment + 2
    x, reset = subject.tokens(3, length), random_resets(3, length, seed=1)
    with torch.no_grad():
        expected, _ = run(model, x, model.initial_state(3), reset)
    for name, (mode, donate) in MODES.items():
        for cuts in (range(1, length), [subject.segment, 2 * subject.segment - 1]):
            with mode():
                y, _ = run(model, x, model.initial_state(3), reset, cuts=cuts, donate=donate)
            expect_same(y, expected, f"{name}, cut at {list(cuts)}")
    half = subject.segment + 1
    with torch.inference_mode():
        first, state = run(model, x[:, :half], model.initial_state(3), reset[:, :half], cuts=[1])
    with torch.no_grad():
        second, _ = run(model, x[:, half:], state, reset[:, half:], donate=True)
    expect_same(torch.cat([first, second], 1), expected, "inference_mode first, then no_grad")


def states_are_values(subject: Subject) -> None:
    """A call that is not given its state leaves it as it was, so that it can branch.

    Giving away some of its rows, taken out of it, does no harm to it either, nor does giving away
    what came after it.
    """
    model, segment = subject.model(), subject.segment
    for name, (mode, donated) in MODES.items():
        if donated:
            continue
        # Everything in one mode: what is kept does not depend on it.
        whole = name == "no_grad"
        for lead in (0, segment - 1, segment + 1) if whole else (segment + 1,):
            with mode():
                state = model.initial_state(2)
                if lead:
                    _, state = run(model, subject.tokens(2, lead), state, cuts=[lead - 1])
                before = {key: tensor.clone() for key, tensor in state.named_tensors()}
                x = subject.tokens(2, segment + 1, seed=2)
                reset = torch.zeros(x.shape[:2], dtype=torch.bool)
                reset[1, 1] = True
                first, _ = run(model, x, state, reset, cuts=[1, segment])
                run(model, -x, state)
                second, _ = run(model, x, state, reset, cuts=[1, segment])
                model(x[:1], state.rows(slice(0, 1)), donate=True)
                for length in range(1 if whole else segment + 1, segment + 2):
                    _, after = model(-x[:, :length], state)
                    run(model, -x, after, cuts=range(1, segment + 1), donate=True)
            for key, tensor in state.named_tensors():
                expect(
                    torch.equal(tensor, before[key]), f"{name}: a call changed its state's {key}"
                )
            expect(torch.equal(first, second), f"{name}: two calls from one state differ")


def reset_is_fresh_start(subject: Subject) -> None:
    """A token marked as a reset is read as the first of an episode."""
    model, segment = subject.model(), subject.segment
    with torch.no_grad():
        for at in (0, segment - 1, segment, segment + 1):
            x = subject.tokens(2, at + 2 * segment + 1, seed=at)
            reset = torch.zeros(x.shape[:2], dtype=torch.bool)
            reset[:, at] = True
            fresh, _ = run(model, x[:, at:], model.initial_state(2))
            for cuts in (NOWHERE, range(1, x.shape[1])):
                y, _ = run(model, x, model.initial_state(2), reset, cuts=cuts)
                expect_same(y[:, at:], fresh, f"after a reset at {at}, cut at {list(cuts)}")
            # The reset of one row alone, while the other goes on.
            alone = reset.clone()
            alone[0] = False
            y, _ = run(model, x, model.initial_state(2), alone)
            expect_same(y[1:, at:], fresh[1:], f"after a reset of one row at {at}")
            on, _ = run(model, x, model.initial_state(2))
            expect_same(y[:1], on[:1], f"in the row that goes on past a reset at {at}")


def rows_are_independent(subject: Subject) -> None:
    """No row's output depends on another; taking and mixing rows commutes with the model."""
    model, length = subject.model(), 2 * subject.segment + 3
    x, reset = subject.tokens(4, length), random_resets(4, length, seed=3)
    other_x = torch.cat([x[:2], 3 * subject.tokens(2, length, seed=4)])
    other_reset = torch.cat([reset[:2], random_resets(2, length, seed=5, share=0.2)])
    later = subject.tokens(4, subject.segment + 2, seed=6)
    order, mask = [2, 0, 3], torch.tensor([True, False, True, False])
    with torch.no_grad():
        for cuts in (NOWHERE, range(1, length)):
            y, state = run(model, x, model.initial_state(4), reset, cuts=cuts)
            other, other_state = run(model, other_x, model.initial_state(4), other_reset, cuts=cuts)
            expect_same(y[:2], other[:2], "rows whose neighbours alone changed", 1e-12)
            for row in (1, 3):
                alone, _ = run(
                    model, x[row, None], model.initial_state(1), reset[row, None], cuts=cuts
                )
                expect_same(y[row, None], alone, "a row in a batch and on its own")
            after, _ = run(model, later, state, cuts=cuts)
            after_other, _ = run(model, later, other_state, cuts=cuts)
            taken, _ = run(model, later[order], state.rows(order), cuts=cuts)
            expect_same(taken, after[order], "rows taken before and after a call")
            mixed, _ = run(model, later, state.where(mask, other_state), cuts=cuts)
            expected = torch.where(mask[:, None, None], after, after_other)
            expect_same(mixed, expected, "rows mixed before and after a call")


def causality(subject: Subject) -> None:
    """No output depends on a later token; each depends on its own."""
    model, segment = subject.model(), subject.segment
    length = 3 * segment + 1
    places = list(range(length))
    x, other = perturbed(subject, length, places)
    for cuts in ([], [segment + 1]):
        with torch.no_grad():
            y, _ = run(model, x, model.initial_state(length), cuts=cuts)
            changed, _ = run(model, other, model.initial_state(length), cuts=cuts)
        for row, at in enumerate(places):
            what = f"outputs before token {at}, when that one changes"
            expect_same(y[row, :at], changed[row, :at], what, 1e-12)
            expect(distance(y[row, at], changed[row, at]) > DIFFERENT, f"output {at} ignores token")


def reach(subject: Subject) -> None:
    """No output depends on a token further back than the reach; some do on nearer ones."""
    model, segment = subject.model(), subject.segment
    if model.reach is None:
        return
    far = model.reach
    # Once from the start of an episode, and once so late that nothing remembers the start.
    places = [*range(segment), *range(far, far + segment)]
    length = 2 * far + segment
    x, other = perturbed(subject, length, places)
    with torch.no_grad():
        y, _ = run(model, x, model.initial_state(len(places)))
        changed, _ = run(model, other, model.initial_state(len(places)))
    effects, oldest = [], []
    for row, at in enumerate(places):
        what = f"outputs {far} tokens and more after token {at}, which changes"
        expect_same(y[row, at + far :], changed[row, at + far :], what, 1e-12)
        effects.append(distance(y[row, at + 1 : at + far], changed[row, at + 1 : at + far]))
        oldest.append(distance(y[row, at + far - 1], changed[row, at + far - 1]))
    expect(far == 1 or max(effects) > DIFFERENT, "no output depends on any earlier token")
    if subject.tight:
        expect(max(oldest[segment:]) > 1e-11, f"no output depends on the token {far - 1} before it")


def memory_is_used(subject: Subject) -> None:
    """With unlimited reach, a token of three segments ago still matters, to outputs and gradients.

    In particular every slot and every carried number has an effect on what follows.
    """
    model, segment = subject.model(), subject.segment
    if model.reach is None:
        places = [at for at in range(segment) for _ in range(4)]
        x, other = perturbed(subject, 4 * segment, places)
        x.requires_grad_(True)
        state = model.initial_state(len(places))
        y, _ = run(model, x, state)
        changed, _ = run(model, other, state)
        expect(
            distance(y[:, -segment:], changed[:, -segment:]) > DIFFERENT,
            "a token of three segments ago changes no output",
        )
        (gradient,) = torch.autograd.grad(y[:, -1].square().sum(), x)
        expect(
            (gradient[:, :segment].abs().amax((0, 2)) > 0).all(),
            "no gradient reaches some token of three segments ago",
        )
    _, state = run(model, subject.tokens(2, segment), model.initial_state(2))
    leaves = as_leaves(state, "slots", "carry")
    if leaves is None:
        return
    state, tensors = leaves
    y, _ = run(model, subject.tokens(2, 2 * segment + 1, seed=8), state)
    weight = subject.tokens(2, 2 * segment + 1, seed=9)
    for name, tensor in tensors.items():
        (gradient,) = torch.autograd.grad((y * weight).sum(), tensor, retain_graph=True)
        effect = gradient.abs().sum(0).flatten(1).sum(1) if gradient.dim() > 2 else gradient.abs()
        expect((effect > 0).all(), f"some of {name} has no effect on what follows")


def detaching(subject: Subject) -> None:
    """Detaching cuts what was asked for and nothing else, and changes no value."""
    model, segment = subject.model(), subject.segment
    for lead in (segment, 2 * segment, 2 * segment + 1):
        x = subject.tokens(2, lead).requires_grad_(True)
        # These want gradients too, so that there is a graph where a model has no parameters.
        later = subject.tokens(2, 2 * segment, seed=10).requires_grad_(True)
        _, state = run(model, x, model.initial_state(2))
        expected, _ = run(model, later, state)
        kind_of = {field.name: field.metadata["kind"] for field in fields(state)}
        graph = {name: tensor.requires_grad for name, tensor in state.named_tensors()}
        without_caches, without_all = state.detach("cache"), state.detach()
        for name, tensor in without_caches.named_tensors():
            cut = kind_of[name.split(".")[0]] == "cache"
            expect(
                tensor.requires_grad == (graph[name] and not cut),
                f"detach('cache') left {name} {'un' if cut else ''}detached",
            )
        for name, tensor in without_all.named_tensors():
            expect(not tensor.requires_grad, f"detach() left {name} in the graph")
        remembers = model.reach is None
        for what, cut_state, flows in (
            ("state", state, model.reach is None or model.reach > 1),
            ("state.detach('cache')", without_caches, remembers),
            ("state.detach()", without_all, False),
        ):
            y, _ = run(model, later, cut_state)
            expect_same(y, expected, f"outputs from {what}", 0.0)
            (gradient,) = torch.autograd.grad(
                y.square().sum(), x, allow_unused=True, retain_graph=True
            )
            flowed = gradient is not None and bool((gradient != 0).any())
            # Without a cache, a model that reads in segments starts anew at the end of one.
            if flows and not (model.reach == segment and lead % segment == 0):
                expect(flowed, f"no gradient flows back through {what} after {lead} tokens")
            if what == "state.detach()" or (what != "state" and not remembers):
                expect(not flowed, f"a gradient flows back through {what} after {lead} tokens")


def gradients_of_pieces(subject: Subject) -> None:
    """The gradient does not depend on how the tokens are cut into calls."""
    model, segment = subject.model(), subject.segment
    length = 2 * segment + 2
    x, reset = subject.tokens(2, length), random_resets(2, length, seed=11, share=0.1)
    weight = subject.tokens(2, length, seed=12)

    def gradients(cuts: Sequence[int], reset: Tensor | None) -> dict[str, Tensor]:
        inputs = x.clone().requires_grad_(True)
        y, _ = run(model, inputs, model.initial_state(2), reset, cuts=cuts)
        wanted = {"the tokens": inputs, **dict(model.named_parameters())}
        found = torch.autograd.grad(
            (y * weight).sum(), list(wanted.values()), materialize_grads=True, allow_unused=True
        )
        return dict(zip(wanted, found, strict=True))

    for resets in (None, reset):
        expected = gradients([], resets)
        for cuts in (range(1, length), [segment], [segment - 1, segment + 1]):
            for name, gradient in gradients(cuts, resets).items():
                what = f"gradient of {name} in one call and in calls cut at {list(cuts)}"
                expect_same(gradient, expected[name], what, 1e-8)


def state_dict_round_trip(subject: Subject) -> None:
    """The weights alone make the model again; copies give the same outputs."""
    model, other = subject.model(seed=0), subject.model(seed=1)
    x = subject.tokens(2, 2 * subject.segment + 1)
    with torch.no_grad():
        y, _ = run(model, x, model.initial_state(2))
        different, _ = run(other, x, other.initial_state(2))
        if model.state_dict():
            expect(distance(y, different) > DIFFERENT, "models with other weights give the same")
        other.load_state_dict(model.state_dict())
        for name, twin in (("state_dict", other), ("deepcopy", copy.deepcopy(model))):
            again, _ = run(twin, x, twin.initial_state(2))
            expect(torch.equal(y, again), f"{name} does not carry all of the model")


def parameters_move(subject: Subject) -> None:
    """After one step of gradient descent over several segments every parameter has moved."""
    model = subject.model()
    if not list(model.parameters()):
        return
    length = 3 * subject.segment + 1
    y, _ = run(model, subject.tokens(3, length), model.initial_state(3))
    (y * subject.tokens(3, length, seed=13)).sum().backward()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            expect(parameter.numel() == 0 or parameter.grad is not None, f"{name} has no gradient")
    torch.optim.SGD(model.parameters(), lr=100.0).step()
    for name, parameter in model.named_parameters():
        moved = parameter.numel() == 0 or not torch.equal(parameter.detach(), before[name])
        expect(moved, f"{name} did not move")
        expect(torch.isfinite(parameter).all(), f"{name} is not finite")


def unread_tokens(subject: Subject) -> None:
    """Leaving outputs unread changes neither the others nor what follows."""
    model, segment = subject.model(), subject.segment
    length = 2 * segment + 3
    x, reset = subject.tokens(3, length), random_resets(3, length, seed=14)
    read = [at % 3 == 1 for at in range(length)]
    with torch.no_grad():
        for cuts in (NOWHERE, range(1, length), range(3, length, 3)):
            everything, state = run(model, x, model.initial_state(3), reset, cuts=cuts)
            some, other = run(model, x, model.initial_state(3), reset, cuts=cuts, read_L=read)
            expect(some.shape == everything.shape, "unread outputs have another shape")
            expect_same(some[:, read], everything[:, read], "outputs read beside unread ones")
            later = subject.tokens(3, segment + 1, seed=15)
            after, _ = run(model, later, state)
            after_unread, _ = run(model, later, other)
            expect_same(after, after_unread, "what follows unread tokens")


def constant_memory(subject: Subject) -> None:
    """A state has as many rows as asked for, and never grows."""
    model = subject.model()
    with torch.inference_mode():
        for batch in (1, 3):
            state = model.initial_state(batch)
            size = state.num_bytes()
            for at in range(6 * subject.segment):
                x = subject.tokens(batch, 1, seed=at)
                y, state = model(x, state, donate=at % 2 == 0)
                expect(y.shape == x.shape, f"outputs have shape {tuple(y.shape)}")
                expect(state.num_bytes() == size, f"the state has grown after {at + 1} tokens")
                expect(state.batch_size == batch, f"{state.batch_size} rows instead of {batch}")


def other_dtypes(subject: Subject) -> None:
    """A model and its state can be cast in the middle of an episode."""
    model = subject.model()
    x = subject.tokens(2, 2 * subject.segment + 3)
    half = subject.segment + 1
    with torch.no_grad():
        expected, _ = run(model, x, model.initial_state(2))
        single = copy.deepcopy(model).float()
        first, state = run(single, x[:, :half].float(), single.initial_state(2))
        expect(first.dtype == torch.float32, f"float32 tokens give {first.dtype}")
        for name, tensor in state.named_tensors():
            expect(tensor.dtype != torch.float64, f"{name} of a float32 model is float64")
        cast = state.to(torch.float64)
        for (name, tensor), (_, original) in zip(
            cast.named_tensors(), state.named_tensors(), strict=True
        ):
            wanted = torch.float64 if original.is_floating_point() else original.dtype
            expect(tensor.dtype == wanted, f"{name} was cast to {tensor.dtype}")
        second, _ = run(model, x[:, half:], cast)
        expect_same(first.double(), expected[:, :half], "outputs in float32", 1e-3)
        expect_same(second, expected[:, half:], "outputs after a cast from float32", 1e-3)


LAWS: dict[str, Callable[[Subject], None]] = {
    law.__name__: law
    for law in (
        chunk_invariance,
        execution_modes,
        states_are_values,
        reset_is_fresh_start,
        rows_are_independent,
        causality,
        reach,
        memory_is_used,
        detaching,
        gradients_of_pieces,
        state_dict_round_trip,
        parameters_move,
        unread_tokens,
        constant_memory,
        other_dtypes,
    )
}
