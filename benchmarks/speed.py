"""Speed: acting with the streaming cache against recomputing the window, and the training step.

    python benchmarks/speed.py

Everything is measured in one process, one thing at a time, with the published T-Maze configuration
of RATE (10 layers, 4 heads of 32, width 64, 15 memory tokens, segments of 50 steps). Rivals for
acting 100 environments: the same model reading the segment so far anew at every step, as the
published evaluation does, and a Decision Transformer of Hugging Face of the same depth and width
reading its window of 50 steps at every step. Run it with nothing else running.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from retain.agents.sequence_policy import SequencePolicy
from retain.core.config import dump_json
from retain.core.provenance import provenance
from retain.recipes import recipe

RESULTS = Path(__file__).parent / "results" / "speed.json"
ROWS, CONTEXT, SEGMENTS, BATCH = 100, 50, 3, 128
OBSERVATION = gym.spaces.Box(-1, 1, (4,), np.float32)
ACTION = gym.spaces.Discrete(4)


def published_policy() -> SequencePolicy:
    config = recipe("tmaze/rate-paper", context_length=CONTEXT, published_size=True)
    return SequencePolicy(config.agent, config.model, OBSERVATION, ACTION)


@torch.inference_mode()
def streaming(policy: SequencePolicy, steps: int) -> Callable[[], None]:
    """Acting as this library does it: the tokens of one step a call."""
    observation = torch.randn(steps, ROWS, 4)
    reward = torch.zeros(ROWS)
    never, first = torch.zeros(ROWS, dtype=torch.bool), torch.ones(ROWS, dtype=torch.bool)

    @torch.inference_mode()
    def run() -> None:
        state = policy.acting_state(ROWS)
        for step in range(steps):
            reset = first if step == 0 else never
            _, _, state = policy.act(observation[step], reward, reset, state, donate=True)

    return run


def recomputing(policy: SequencePolicy, steps: int) -> Callable[[], None]:
    """The same model, which reads [memory, segment so far, memory] anew at every step."""
    observation = torch.randn(ROWS, CONTEXT, 4)
    action = torch.zeros(ROWS, CONTEXT, dtype=torch.long)
    returns = torch.ones(ROWS, CONTEXT)

    @torch.inference_mode()
    def run() -> None:
        from dataclasses import replace

        from retain.models import build

        # One model for each length of the prefix, with the same weights: a segment of n steps ends
        # with the write tokens, so the whole of [memory, prefix, memory] is read.
        for step in range(steps):
            n = step % CONTEXT + 1
            if n not in prefix_models:
                config = replace(policy.model.config, context_length=n)
                model = build(config, tokens_per_step=3).eval()
                model.load_state_dict(policy.model.state_dict())
                prefix_models[n] = model
            model = prefix_models[n]
            x = policy.tokens.segments(returns[:, :n], observation[:, :n], action[:, :n])
            y, _ = model(x, model.initial_state(ROWS))
            policy.head(policy.tokens.predictions(y)[:, -1])

    prefix_models: dict[int, Any] = {}
    return run


def hugging_face(steps: int) -> Callable[[], None]:
    """A Decision Transformer of Hugging Face, which reads its window anew at every step."""
    from transformers import DecisionTransformerConfig, DecisionTransformerModel

    config = DecisionTransformerConfig(
        state_dim=4, act_dim=4, hidden_size=64, n_layer=10, n_head=4, max_ep_len=4096
    )
    model = DecisionTransformerModel(config).eval()
    states = torch.randn(ROWS, CONTEXT, 4)
    actions = torch.zeros(ROWS, CONTEXT, 4)
    returns = torch.ones(ROWS, CONTEXT, 1)
    timesteps = torch.arange(CONTEXT).expand(ROWS, -1)
    mask = torch.ones(ROWS, CONTEXT)

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
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    policy = published_policy().eval()
    step_ms: dict[str, list[float]] = {}
    for name, run, steps in (
        ("retain, streaming", streaming(policy, 2 * CONTEXT), 2 * CONTEXT),
        ("the same model, segment so far read anew", recomputing(policy, CONTEXT), CONTEXT),
        ("Hugging Face Decision Transformer, window read anew", hugging_face(10), 10),
    ):
        times = seconds(run, arguments.repetitions)
        step_ms[name] = [1000 * t / steps for t in times]
        print(f"{name}: {np.mean(step_ms[name]):.1f} ms a step of {ROWS} environments")
    own = float(np.mean(step_ms["retain, streaming"]))
    ratios = {name: float(np.mean(ms)) / own for name, ms in step_ms.items()}
    update = seconds(training(published_policy().train()), arguments.repetitions)
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
            "threads": torch.get_num_threads(),
            "provenance": provenance(),
        },
    )


if __name__ == "__main__":
    main()
