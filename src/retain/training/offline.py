"""Offline training: sequences of segments, with the gradient through the memory.

Axes: B batch, T steps, K steps of a segment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from retain.agents.sequence_policy import SequencePolicy, count_real
from retain.core.errors import RunError
from retain.data.pack import Pack, open_pack
from retain.data.segments import SegmentBatch
from retain.evaluation import evaluate_policy, is_better
from retain.memory import MemoryState
from retain.training import checkpoints, parallel
from retain.training.config import RunConfig, config_to_dict
from retain.training.growth import Growth, Mastered
from retain.training.interrupts import Interrupts
from retain.training.loggers import Loggers, open_loggers
from retain.training.preparation import sampler
from retain.training.runs import Run
from retain.training.schedules import (
    learning_rate,
    longest_episode,
    memory_cost_weight,
    spent_updates,
)

#: Success in an evaluation from which on a task counts as solved.
SOLVED = 0.995

Report = Callable[[int, dict[str, float]], None]
"""Called with the update's number and its metrics, for a progress display."""


@dataclass
class _Progress:
    """What changes while a run trains, apart from weights, optimiser and generators."""

    update: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    best_metric: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    mastered: Mastered = field(default_factory=list)


def train(run: Run, dataset: str, report: Report | None = None) -> dict[str, Any]:
    """Trains a run to its last update, from wherever it is.

    Args:
        run: The run; if it has a checkpoint, training goes on from there.
        dataset: The dataset's id.
        report: Told of metrics as they come.

    Returns:
        How the training went: updates, seconds, time to solve and so on, as in ``results.json``.

    Raises:
        RunError: If the checkpoint is damaged, or the dataset is not the one of the run.
        TrainingError: If the loss is not a number; the last checkpoint is kept.
    """
    pack = open_pack(dataset)
    arguments = (str(run.folder), dataset)
    with parallel.workers(_work, arguments, run.config.train.devices) as place:
        return _Trainer(run, pack, report, place).train()


def _work(place: parallel.Place, ready: Callable[[], None], folder: str, dataset: str) -> None:
    """Trains a run as one of its further processes."""
    run, pack = Run(folder), open_pack(dataset)
    ready()
    _Trainer(run, pack, None, place).train()


class _Carrier:
    """Holds a batch and the memory between runs of segments, where Fabric looks for no tensors.

    In mixed precision it would round what it finds, observations before they are normalised too.
    """

    def __init__(self, memory: MemoryState):
        self.memory = memory
        self.batch: dict[str, Tensor] = {}


class _Segments(nn.Module):
    """The policy's loss in the form that Fabric wraps: a dict of tensors comes out."""

    def __init__(self, policy: SequencePolicy):
        super().__init__()
        self.policy = policy

    def forward(
        self,
        carrier: _Carrier,
        segment_length: int,
        whole: tuple[Tensor, Tensor] | None,
        memory_cost: float,
    ) -> dict[str, Tensor]:
        losses, carrier.memory = self.policy(carrier.batch, carrier.memory, segment_length, whole)
        cost = memory_cost * losses.regularizer
        known = {name: value for name, value in vars(losses).items() if value is not None}
        return known | {"regularizer": cost, "loss": losses.prediction + cost}


class _Trainer:
    def __init__(self, run: Run, pack: Pack, report: Report | None, place: parallel.Place):
        config = cast(RunConfig, run.config)
        self.run, self.config, self.report = run, config, report
        self.settings = config.train
        parallel.limit_threads(self.settings)
        self.fabric = parallel.fabric(self.settings, place)
        self.fabric.launch()
        rank = self.fabric.global_rank
        self.sampler = sampler(config, pack, rank)
        self.longest = int(pack.lengths.max())
        # Weights come from the seed alone; what follows differs from device to device.
        torch.manual_seed(config.seed)
        self.policy = cast(SequencePolicy, run.policy())
        trained_on = (self.policy.observation_space, self.policy.action_space)
        if (pack.observation_space, pack.action_space) != trained_on:
            raise RunError(
                f"dataset '{pack.dataset_id}' has other spaces than the data that the run "
                f"{run.folder} was trained on; put the old data back, or train anew"
            )
        if run.content not in (None, pack.content):
            raise RunError(
                f"dataset '{pack.dataset_id}' has changed since the run {run.folder} began; "
                "put the old data back, or train anew"
            )
        torch.manual_seed(config.seed * 1000 + rank)
        optimiser = torch.optim.AdamW(
            self.policy.parameters(),
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )
        self.progress = _Progress()
        given = config.initial_weights is not None
        checkpoint = checkpoints.begin(run.folder, self.policy, given=given)
        # Weights of another run were learned with the statistics of its data, which are with them.
        if checkpoint is None and not given and config.agent.normalize_observations:
            self.policy.observe(pack.observations)
        self.module, self.optimiser = self.fabric.setup(_Segments(self.policy), optimiser)
        if checkpoint is not None:  # the optimiser's averages go to where the weights are now
            self._restore(checkpoint)
        self.growth = self._growth()
        self.interrupts = Interrupts()
        self.logger = Loggers([])
        if rank == 0:
            plain = config_to_dict(config)
            self.logger = open_loggers(run.folder, self.settings, plain, self.progress.update)

    def _growth(self) -> Growth:
        """The curriculum by mastery; one that does not grow if there is none."""
        score, first = self.settings.curriculum_score, self.settings.curriculum_from
        whole = self.sampler.context_length * self.sampler.num_segments
        return Growth(None if score is None else first, whole, score or 0.0, self.progress.mastered)

    # -- the loop --------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        try:
            # Several devices would not hear of it at the same update.
            with self.interrupts if self.fabric.world_size == 1 else nullcontext():
                self._train()
        finally:
            self.logger.close()
        return self._summary()

    def _train(self) -> None:
        settings, progress = self.settings, self.progress
        began = time.perf_counter() - progress.seconds
        last_log, last_time = progress.update, time.perf_counter()
        self.module.train()
        while progress.update < settings.updates:
            self._advance_curriculum()
            before = progress.update
            metrics = self._one_batch()
            progress.seconds = time.perf_counter() - began
            if self._due(before, settings.log_every):
                now = time.perf_counter()
                rate = (progress.update - last_log) / (now - last_time)
                last_log, last_time = progress.update, now
                self._log({**metrics, "train/updates_per_second": rate})
            if settings.evaluate_every and self._due(before, settings.evaluate_every):
                paused = time.perf_counter()
                self._evaluate()
                last_time += time.perf_counter() - paused  # it is no part of the updates' speed
                progress.seconds = time.perf_counter() - began
            if self._due(before, settings.checkpoint_every) or self.interrupts.asked:
                self._save()
            if self.interrupts.asked:
                raise KeyboardInterrupt
        self._save()

    def _summary(self) -> dict[str, Any]:
        """How the training went, for ``results.json``."""
        progress = self.progress
        solved = [
            entry for entry in progress.history
            if entry["mean"] >= SOLVED and entry.get("metric", "success") == "success"
        ]  # fmt: skip
        return {
            "updates": progress.update,
            "seconds": progress.seconds,
            "length": self.longest,
            "best": progress.best if math.isfinite(progress.best) else None,
            "solved_at_update": solved[0]["update"] if solved else None,
            "solved_at_seconds": solved[0]["seconds"] if solved else None,
            "history": progress.history,
            "curriculum": progress.mastered,
            "parameters": sum(p.numel() for p in self.policy.parameters()),
        }

    def _due(self, before: int, every: int) -> bool:
        """Whether a multiple of `every`, or the end, was reached since `before`."""
        update = self.progress.update
        return update // every > before // every or update >= self.settings.updates

    def _one_batch(self) -> dict[str, float]:
        """Trains on one batch; returns the metrics of its last update."""
        batch, memory = self._begin(self.sampler.sample())
        segment = self.sampler.context_length
        num_segments = batch["mask"].shape[1] // segment
        run_length = self.settings.bptt_segments or num_segments
        starts = range(0, num_segments, run_length)
        whole = count_real(batch["mask"], segment)
        carrier = _Carrier(memory)
        memory_cost = memory_cost_weight(self.settings, self.progress.update, self._grown_at())
        sums: dict[str, float] = {}
        for start in starts:
            if self.progress.update >= self.settings.updates:
                break
            span = slice(start * segment, (start + run_length) * segment)
            if start:
                carrier.memory = carrier.memory.detach()
            rows = carrier.memory.batch_size  # rows whose steps are over have been left out
            carrier.batch = {name: value[:rows, span] for name, value in batch.items()}
            own_update = self.settings.update_per_segment
            last = start == starts[-1]
            several = self.fabric.world_size > 1
            with self.fabric.no_backward_sync(self.module, enabled=several):
                counted = None if own_update else whole
                losses = self.module(carrier, segment, counted, memory_cost)
                numbers = {name: float(value.detach()) for name, value in losses.items()}
                # Several devices must stop together, at the gradient, which is the same on all.
                if not several and not math.isfinite(numbers["loss"]):
                    self._give_up("the loss is not a number")
                if numbers["num_steps"] > 0 or not own_update:
                    self.fabric.backward(losses["loss"])
            values = {
                "train/loss": numbers["loss"],
                "train/prediction_loss": numbers["prediction"],
                "train/memory_cost": numbers["regularizer"],
            }
            if "accuracy" in numbers:
                values["train/accuracy"] = numbers["accuracy"]
            sums = values if own_update else {k: sums.get(k, 0.0) + v for k, v in values.items()}
            if (own_update and numbers["num_steps"] > 0) or (not own_update and last):
                sums |= self._update()
        return sums

    def _begin(self, drawn: SegmentBatch) -> tuple[dict[str, Tensor], MemoryState]:
        """Returns a batch as tensors, and the memory before it."""
        arrays = {
            "observation": drawn.observations_BTO,
            "action": drawn.actions_BT,
            "return_to_go": drawn.returns_to_go_BT,
            "mask": drawn.mask_BT,
        }
        # The longest first, so that segments need only be read in the rows that reach them.
        order = np.argsort(-drawn.mask_BT.sum(axis=1), kind="stable")
        device = self.fabric.device
        batch = {name: torch.from_numpy(array[order]).to(device) for name, array in arrays.items()}
        read_before_B = drawn.offsets_B[order] * self.policy.tokens.tokens_per_step
        return batch, self.policy.model.later_state(torch.from_numpy(read_before_B).to(device))

    def _update(self) -> dict[str, float]:
        settings = self.settings
        self._average_gradients()
        spent = spent_updates(settings, self.progress.update)
        rate = learning_rate(settings, self.progress.update, spent)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if settings.gradient_clip is None:
            norms = [p.grad.norm() for p in self.policy.parameters() if p.grad is not None]
            norm = torch.stack(norms).norm()
        else:
            norm = self.fabric.clip_gradients(
                self.module, self.optimiser, max_norm=settings.gradient_clip,
                error_if_nonfinite=False,
            )  # fmt: skip
        if not math.isfinite(float(norm)):
            self._give_up("the gradient is not a number")
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.progress.update += 1
        return {"train/gradient_norm": float(norm), "train/learning_rate": rate}

    def _average_gradients(self) -> None:
        """Makes the gradients of all devices their mean.

        Fabric's wrapper would do it in one backward pass and for what that pass has used; here
        several passes make one gradient, and the last may not reach the memory at all.
        """
        if self.fabric.world_size == 1:
            return
        parameters = [p for p in self.policy.parameters() if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([part.flatten() for part in parts])
        torch.distributed.all_reduce(flat)
        flat /= self.fabric.world_size
        means = flat.split([p.numel() for p in parameters])
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.grad = mean.view_as(parameter)

    def _give_up(self, why: str) -> None:
        checkpoints.give_up(self.run.folder / "checkpoints", why, self.progress.update)

    def _advance_curriculum(self) -> None:
        """Draws from now on the episodes of the curriculum's stage."""
        segment, num_segments = self.sampler.context_length, self.config.data.num_segments
        if self.settings.curriculum_score is not None:
            longest = self.growth.value
        else:
            longest = longest_episode(self.settings, self.progress.update, segment, num_segments)
        if longest != self.sampler.longest:
            self.sampler.set_longest(longest)

    def _grown_at(self) -> float:
        """The update by which all of the curriculum was mastered; infinite if it is not yet."""
        if self.growth.value is not None:
            return math.inf
        mastered = self.progress.mastered
        return mastered[-1]["update"] if mastered else 0

    # -- what surrounds it -----------------------------------------------------------------------

    def _evaluate(self) -> None:
        """Plays episodes at the values that are watched during training.

        As long as episodes grow by mastery, it is judged by the curriculum alone.
        """
        progress = self.progress
        now: dict[str, float] = {"update": progress.update, "seconds": progress.seconds}
        self.growth.go_on(self._score_at, now)
        if self.growth.value is not None:
            return
        values: tuple[int | None, ...] = self.config.evaluation.values_in_training or (None,)
        records = [self._play(value) for value in values]
        self._log({name: mean for name, _, mean in records})
        _, metric, mean = records[-1]
        progress.history.append({**now, "mean": mean, "metric": metric})
        if is_better(metric, mean, progress.best_metric, progress.best):
            progress.best, progress.best_metric = mean, metric
            self._save(best=True)

    def _score_at(self, value: int) -> float:
        """Plays an evaluation at a value, notes it, and returns its mean."""
        name, _, mean = self._play(value)
        self._log({name: mean})
        return mean

    def _play(self, value: int | None) -> tuple[str, str, float]:
        """Plays an evaluation; returns its name, metric and mean, alike on all devices."""
        name, metric, mean = "", "", 0.0
        if self.fabric.global_rank == 0:
            evaluation = self.config.evaluation
            record = evaluate_policy(
                self.policy, self.config.acts_in, **self.config.evaluation_arguments(),
                parameter=evaluation.parameter, value=value,
            )  # fmt: skip
            metric, mean = record["metric"], record["mean"]
            name = f"eval/{metric}" + ("" if value is None else f"/{value}")
        # All devices must agree on what is mastered, and on which checkpoint is the best.
        told: tuple[str, str, float] = self.fabric.broadcast((name, metric, mean))
        return told

    def _log(self, metrics: dict[str, float]) -> None:
        self.logger.log(self.progress.update, metrics)
        if self.report is not None and self.fabric.global_rank == 0:
            self.report(self.progress.update, metrics)

    def _save(self, *, best: bool = False) -> None:
        if not all(bool(p.isfinite().all()) for p in self.policy.parameters()):
            self._give_up("a weight is not a number")
        own = checkpoints.random_state()
        everyone = self._gather({"sampler": self.sampler.state_dict(), "random": own})
        if self.fabric.global_rank == 0:
            folder = self.run.folder / "checkpoints"
            training = {
                "optimiser": self.optimiser.state_dict(),
                "progress": vars(self.progress),
                "devices": everyone,
            }
            checkpoints.save(folder, self.progress.update, self.policy, training, best=best)
            checkpoints.prune(folder, self.settings.keep_checkpoints)
        self.fabric.barrier()

    def _gather(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        """Brings what each device has to all of them."""
        if self.fabric.world_size == 1:
            return [own]
        everyone: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(everyone, own)
        return everyone

    def _restore(self, checkpoint: Path) -> None:
        state = checkpoints.load_training(checkpoint)
        try:
            self.optimiser.load_state_dict(state["optimiser"])
            self.progress = _Progress(**state["progress"])
            own = state["devices"][self.fabric.global_rank]
            self.sampler.load_state_dict(own["sampler"])
            checkpoints.restore_random_state(own["random"])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"{checkpoint / checkpoints.TRAINING} does not fit the run ({error!r}); "
                "it can be evaluated but not resumed"
            ) from None
