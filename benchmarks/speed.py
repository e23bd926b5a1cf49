"""Speed: acting with the streaming cache against recomputing the window, and the training step.

    python benchmarks/speed.py

Everything is measured in one process, one thing at a time, with the published T-Maze configuration
of RATE (10 layers, 4 heads of 32, width 64, 15 memory tokens, segments of 50 steps). Rivals for
acting 100 environments: the same model reading the segment so far anew at every step, as the
published evaluation does, and a Decision Transformer of Hugging Face of the same depth and width
reading its window of 50 steps at every step. Run it with nothing else running; `--device cuda`
measures on a GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from retain.agents.sequence_policy import SequencePolicy, SequencePolicyConfig
from retain.core.config import dump_json
from retain.core.provenance import provenance
from retain.models import build
from retain.models.rate import RATEConfig
from retain.recipes import recipe

RESULTS = Path(__file__).parent / "results" / "speed.json"
ROWS, CONTEXT, SEGMENTS, BATCH = 100, 50, 3, 128
OBSERVATION = gym.spaces.Box(-1, 1, (4,), np.float32)
ACTION = gym.spaces.Discrete(4)


def published_policy() -> SequencePolicy:
    config = recipe("tmaze/rate-paper", context_length=CONTEXT, published_size=True)
    assert isinstance(config.agent, SequencePolicyConfig)
    return SequencePolicy(config.agent, config.model, OBSERVATION, ACTION)


def device_of(policy: SequencePolicy) -> torch.device:
    return next(policy.parameters()).device


def streaming(policy: SequencePolicy, steps: int) -> Callable[[], None]:
    """Acting as this library does it: the tokens of one step a call."""
    device = device_of(policy)
    observation = torch.randn(steps, ROWS, 4, device=device)
    reward = torch.zeros(ROWS, device=device)
    never = torch.zeros(ROWS, dtype=torch.bool, device=device)
    first = ~never

    @torch.inference_mode()
    def run() -> None:
        state = policy.acting_state(ROWS)
        for step in range(steps):
            reset = first if step == 0 else never
            _, _, state = policy.act(observation[step], reward, reset, state, donate=True)

    return run


def recomputing(policy: SequencePolicy, steps: int) -> Callable[[], None]:
    """The same model, which reads [memory, segment so far, memory] anew at every step."""
    device = device_of(policy)
    observation = torch.randn(ROWS, CONTEXT, 4, device=device)
    action = torch.zeros(ROWS, CONTEXT, dtype=torch.long, device=device)
    returns = torch.ones(ROWS, CONTEXT, device=device)

    @torch.inference_mode()
    def run() -> None:
        # One model for each length of the prefix, with the same weights: a segment of n steps ends
        # with the write tokens, so the whole of [memory, prefix, memory] is read.
        for step in range(steps):
            n = step % CONTEXT + 1
            if n not in prefix_models:
                own = policy.model.config
                assert isinstance(own, RATEConfig)
                config = replace(own, context_length=n)
                model = build(config, tokens_per_step=3).eval().to(device)
                model.load_state_dict(policy.model.state_dict())
                prefix_models[n] = model
            model = prefix_models[n]
            x = policy.tokens.segments(returns[:, :n], observation[:, :n], action[:, :n])
            y, _ = model(x, model.initial_state(ROWS))
            policy.head(policy.tokens.predictions(y)[:, -1])

    prefix_models: dict[int, Any] = {}
    return run


def hugging_face(steps: int, device: torch.device) -> Callable[[], None]:
    """A Decision Transformer of Hugging Face, which reads its window anew at every step."""
    from transformers import DecisionTransformerConfig, DecisionTransformerModel

    config = DecisionTransformerConfig(
        state_dim=4, act_dim=4, hidden_size=64, n_layer=10, n_head=4, max_ep_len=4096
    )
    model = DecisionTransformerModel(config).eval().to(device)
    states = torch.randn(ROWS, CONTEXT, 4, device=device)
    actions = torch.zeros(ROWS, CONTEXT, 4, device=device)
    returns = torch.ones(ROWS, CONTEXT, 1, device=device)
    timesteps = torch.arange(CONTEXT, device=device).expand(ROWS, -1)
    mask = torch.ones(ROWS, CONTEXT, device=device)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(steps):
            model(
                states=states,
                actions=actions,
                rewards=returns,
                returns_to_go=returns,
                timesteps=timesteps,
                attention_mask=mask,
            )

    return run


def training(policy: SequencePolicy) -> Callable[[], None]:
    """One update on a batch, with the gradient through all segments."""
    steps = CONTEXT * SEGMENTS
    batch = {
        "observation": torch.randn(BATCH, steps, 4),
        "action": torch.zeros(BATCH, steps, dtype=torch.long),
        "return_to_go": torch.ones(BATCH, steps),
        "mask": torch.ones(BATCH, steps, dtype=torch.bool),
    }
    batch = {name: tensor.to(device_of(policy)) for name, tensor in batch.items()}
    optimiser = torch.optim.AdamW(policy.parameters(), lr=1e-4)

    def run() -> None:
        losses, _ = policy(batch, policy.model.initial_state(BATCH), CONTEXT)
        optimiser.zero_grad()
        losses.loss.backward()
        optimiser.step()

    return run


def seconds(run: Callable[[], None], repetitions: int) -> list[float]:
    """Wall times after one call to warm up."""
    run()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    policy = published_policy().eval().to(device)
    step_ms: dict[str, list[float]] = {}
    for name, run, steps in (
        ("retain, streaming", streaming(policy, 2 * CONTEXT), 2 * CONTEXT),
        ("the same model, segment so far read anew", recomputing(policy, CONTEXT), CONTEXT),
        ("Hugging Face Decision Transformer, window read anew", hugging_face(10, device), 10),
    ):
        times = seconds(run, arguments.repetitions)
        step_ms[name] = [1000 * t / steps for t in times]
        print(f"{name}: {np.mean(step_ms[name]):.1f} ms a step of {ROWS} environments")
    own = float(np.mean(step_ms["retain, streaming"]))
    ratios = {name: float(np.mean(ms)) / own for name, ms in step_ms.items()}
    update = seconds(training(published_policy().train().to(device)), arguments.repetitions)
    rate = BATCH * CONTEXT * SEGMENTS / float(np.mean(update))
    print(f"ratios: { {k: round(v, 1) for k, v in ratios.items()} }")
    print(f"training: {np.mean(update):.2f} s an update, {rate:,.0f} environment steps a second")
    dump_json(
        arguments.out,
        {
            "acting_ms_per_step": step_ms,
            "acting_rows": ROWS,
            "ratio_to_streaming": ratios,
            "training_seconds_per_update": update,
            "training_steps_per_second": rate,
            "device": arguments.device,
            "threads": torch.get_num_threads(),
            "provenance": provenance(),
        },
    )


if __name__ == "__main__":
    main()
