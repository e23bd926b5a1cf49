"""Online training: rounds of episodes, and the updates that they have earned.

Agents with a replay make so many updates for each step of the environment, or for each episode;
the others learn from each stretch of the round's own experience, in one update or several. What a
round does depends on the weights, torch's generators, the replay and the numbers of its episodes,
steps and updates alone, and these are what a checkpoint between two rounds holds.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from retain.agents.actor_critic import ActorCriticConfig
from retain.agents.online import OnlineAgent
from retain.core.errors import RunError, TrainingError
from retain.core.seeding import generator
from retain.data.replay import EpisodeBatch, EpisodeReplay
from retain.evaluation import evaluate_policy, is_better
from retain.memory import MemoryState
from retain.rollout import Episodes
from retain.training import checkpoints, parallel
from retain.training.averages import Averages
from retain.training.config import OnlineRunConfig, config_to_dict
from retain.training.experience import Collector, Stretch
from retain.training.growth import Growth, Mastered
from retain.training.interrupts import Interrupts
from retain.training.loggers import open_loggers
from retain.training.runs import Run
from retain.training.schedules import learning_rate

Report = Callable[[int, dict[str, float]], None]
"""Called with how far training is (see `OnlineTrainConfig.unit`) and metrics."""

_REPLAY = 2  # the stream of a run's seed that batches are drawn from


@dataclass
class _Progress:
    """What changes while a run trains, apart from weights, optimiser, generators and replay."""

    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    longest: int = 1
    random_steps: int = 0
    seconds: float = 0.0
    collecting: float = 0.0
    best: float = -math.inf
    best_metric: str | None = None
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    mastered: Mastered = field(default_factory=list)


def train(run: Run, report: Report | None = None) -> dict[str, Any]:
    """Trains a run to its end, from wherever it is.

    Args:
        run: The run; if it has a checkpoint, training goes on from there.
        report: Told of metrics as they come.

    Returns:
        How the training went: steps, episodes, updates, seconds and so on, as in ``results.json``.

    Raises:
        RunError: If the checkpoint is damaged.
        TrainingError: If the loss is not a number; the last checkpoint is kept.
        ConfigError: If the settings do not fit the episodes that come.
    """
    return _Trainer(run, report).train()


def replay_of(config: OnlineRunConfig, agent: OnlineAgent) -> EpisodeReplay | None:
    """Returns the empty replay of a run, or None if its agent has none.

    Raises:
        ConfigError: If there is no memory for it.
    """
    if not agent.from_replay:
        return None
    settings = config.train
    spaces = agent.observation_space, agent.action_space
    return EpisodeReplay(
        settings.replay_capacity,
        *spaces,
        settings.sequence_length,
        settings.replay_episodes,
        settings.burn_in,
    )


class _Trainer:
    def __init__(self, run: Run, report: Report | None):
        config = cast(OnlineRunConfig, run.config)
        self.run, self.config, self.report = run, config, report
        self.settings = config.train
        parallel.limit_threads(self.settings)
        self.fabric = parallel.fabric(self.settings)
        self.fabric.launch()
        torch.manual_seed(config.seed)
        self.agent = cast(OnlineAgent, run.policy())
        trained = [p for p in self.agent.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(
            trained,
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )
        self.trained = trained
        self.progress, self.averages = _Progress(), Averages()
        self.replay = replay_of(config, self.agent)
        given = config.initial_weights is not None
        checkpoint = checkpoints.begin(run.folder, self.agent, given=given)
        _, self.optimiser = self.fabric.setup(self.agent, optimiser)
        if checkpoint is not None:  # the optimiser's averages go to where the weights are now
            self._restore(checkpoint)
        first = self.settings.curriculum_from
        whole = 0 if first is None else config.grown
        self.growth = Growth(first, whole, self.settings.curriculum_score, self.progress.mastered)
        self.interrupts = Interrupts()
        self.seen = self.progress.env_steps  # when it was last asked whether to log
        self.collector = Collector(self.agent, config.training_environment, config.seed)
        plain = config_to_dict(config)
        self.logger = open_loggers(run.folder, self.settings, plain, self.progress.env_steps)

    # -- the loop --------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        try:
            with self.interrupts:
                self._train()
        finally:
            self.logger.close()
            self.collector.close()
        return self._summary()

    def _train(self) -> None:
        settings, progress = self.settings, self.progress
        began = time.perf_counter() - progress.seconds
        self.averages.start_clock()
        while not self._finished():
            before = progress.env_steps
            self.begun = self._state()
            if self.replay is not None:
                self._round_of_replay(self.replay)
            else:
                self._round_of_its_own()
            progress.seconds = time.perf_counter() - began
            self._log_if_due()
            if settings.evaluate_every and self._due(before, settings.evaluate_every):
                paused = time.perf_counter()
                best = self._evaluate()
                self.averages.since += time.perf_counter() - paused
                progress.seconds = time.perf_counter() - began
                if best:  # with the seconds that the evaluation took
                    self._save(best=True)
            if self._due(before, settings.checkpoint_every) or self.interrupts.asked:
                self._save()
            if self.interrupts.asked:
                raise KeyboardInterrupt
        if self.replay is not None and progress.updates == 0:
            raise TrainingError(
                f"nothing was learned: of {progress.episodes} episodes the first "
                f"{settings.random_episodes} are random, and no update was due after them; lower "
                "--train.random-episodes, or train longer"
            )
        self._save()

    def _finished(self) -> bool:
        settings, progress = self.settings, self.progress
        return (
            progress.stopped
            or (settings.env_steps is not None and progress.env_steps >= settings.env_steps)
            or (settings.episodes is not None and progress.episodes >= settings.episodes)
        )

    def _due(self, before: int, every: int) -> bool:
        """Whether a multiple of `every`, or the end, was reached since `before`."""
        return self.progress.env_steps // every > before // every or self._finished()

    def _log_if_due(self) -> None:
        """Writes a line of metrics if a multiple of `log_every` was passed since the last call."""
        if self._due(self.seen, self.settings.log_every):
            self._log(self.averages.means())
            self.averages.clear()
        self.seen = self.progress.env_steps

    def _count(self) -> int:
        """Episodes of the next round."""
        settings, progress = self.settings, self.progress
        count = settings.num_envs
        if settings.episodes is not None:
            count = min(count, settings.episodes - progress.episodes)
        if self.replay is not None and progress.episodes < settings.random_episodes:
            count = min(count, settings.random_episodes - progress.episodes)
        return count

    def _options(self) -> dict[str, int]:
        """Options of the environment at this stage of the curriculum, over its own."""
        option, value = self.settings.curriculum_option, self.growth.value
        return {} if option is None or value is None else {option: value}

    def _round_of_replay(self, replay: EpisodeReplay) -> None:
        """Plays a round into the replay, then makes the updates that are due."""
        settings, progress = self.settings, self.progress
        at_random = progress.episodes < settings.random_episodes
        epsilon = 1.0 if at_random else self._epsilon()
        self.averages.add("train/epsilon", epsilon)
        start = time.perf_counter()
        self.agent.train(settings.dropout_in_collection)
        for stretch in self._play(epsilon):
            for episode in stretch.episodes():
                replay.add(*episode)
            self._count_steps(stretch.batch, stretch.ended)
            self._observe(stretch)
        progress.collecting += time.perf_counter() - start
        if at_random:
            progress.random_steps = progress.env_steps
        if progress.episodes < settings.random_episodes:
            return
        self.agent.train()
        if settings.updates_per_episode is not None:
            due = settings.updates_per_episode * progress.episodes
        else:
            due = settings.updates_per_step * progress.env_steps
        while progress.updates < due:
            rng = generator(self.config.seed, _REPLAY, progress.updates)
            batch = replay.sample(settings.batch_size, rng)
            memory = self.agent.network.model.initial_state(settings.batch_size)
            self._update(self._tensors(batch), memory)

    def _round_of_its_own(self) -> None:
        """Plays a round and learns from each stretch of it."""
        progress, config = self.progress, self.config.agent
        num_steps = config.num_steps if isinstance(config, ActorCriticConfig) else None
        self.agent.train(self.settings.dropout_in_collection)
        start = time.perf_counter()
        for stretch in self._play(0.0, num_steps):
            progress.collecting += time.perf_counter() - start
            self._count_steps(stretch.batch, stretch.ended)
            first_of_all = progress.updates == 0
            if first_of_all:
                self._observe(stretch)
            self.agent.train()
            batch = self._tensors(stretch.batch)
            with self.fabric.autocast():
                batch = self.agent.prepare(batch, stretch.memory)
            for part, memory in self.agent.passes(batch, stretch.memory):
                self._update(part, memory)
            if not first_of_all:  # what acted learns with the statistics that it acted with
                self._observe(stretch)
            if num_steps is not None:  # a round of long episodes takes many updates
                if self._finished():
                    break
                self._log_if_due()
            self.agent.train(self.settings.dropout_in_collection)
            start = time.perf_counter()

    def _play(self, epsilon: float, num_steps: int | None = None) -> Iterator[Stretch]:
        """Plays a round, in stretches of `num_steps`.

        If it is left before anything was learned from it, because of an interrupt or of what the
        environment does, the run is saved as it was before: nothing else would be the same again.
        """
        progress, learned = self.progress, self.progress.updates
        try:
            yield from self.collector.play(
                progress.episodes,
                self._count(),
                epsilon=epsilon,
                num_steps=num_steps,
                options=self._options(),
                stopped=lambda: self.interrupts.asked and progress.updates == learned,
            )
        except (Exception, KeyboardInterrupt):
            if progress.updates == learned and self.begun["progress"]["env_steps"]:
                self._go_back(self.begun)
                self._save()
            raise

    def _observe(self, stretch: Stretch) -> None:
        """Takes what was seen and earned into account, where that is normalised."""
        if self.config.agent.normalize_observations:
            self.agent.observe(stretch.batch.observation[:, :-1][stretch.batch.mask])
        if self.config.agent.normalize_rewards:
            self.agent.observe_returns(stretch.returns)

    def _count_steps(self, batch: EpisodeBatch, ended: Episodes) -> None:
        progress, steps = self.progress, int(batch.mask.sum())
        progress.env_steps += steps
        progress.episodes += len(ended.length_B)
        progress.longest = max([progress.longest, *ended.length_B.tolist()])
        self.averages.env_steps += steps
        self.averages.episodes(ended)

    def _epsilon(self) -> float:
        """Share of uniform actions now: from 1 down to the last value, linearly in the budget."""
        if self.agent.stochastic():
            return 0.0
        settings, progress = self.settings, self.progress
        last = settings.final_epsilon
        last = 1.0 / progress.longest if last is None else last
        spent = self._spent(progress.random_steps, settings.random_episodes)
        share = settings.exploration_fraction
        done = min(1.0, spent / share) if share else 1.0
        return 1.0 + (last - 1.0) * done

    def _spent(self, free_steps: int = 0, free_episodes: int = 0) -> float:
        """Returns the share that is spent of the budget that ends training first.

        Args:
            free_steps: Steps at the beginning that are not counted.
            free_episodes: Episodes at the beginning that are not.
        """
        settings, progress = self.settings, self.progress
        spent = 0.0
        if settings.env_steps is not None:
            spent = (progress.env_steps - free_steps) / settings.env_steps
        if settings.episodes is not None:
            spent = max(spent, max(0, progress.episodes - free_episodes) / settings.episodes)
        return spent

    def _update(self, batch: dict[str, Tensor], memory: MemoryState) -> None:
        with self.fabric.autocast():  # Fabric's own wrapper cannot take a memory
            loss, metrics = self.agent(batch, memory)
        if not math.isfinite(float(loss.detach())):
            self._give_up("the loss is not a number")
        self.fabric.backward(loss)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None])
        if not math.isfinite(float(norm)):
            self._give_up("the gradient is not a number")
        if self.settings.gradient_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.trained, self.settings.gradient_clip, norm)
        rate = learning_rate(self.settings, self.progress.updates, self._spent())
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.agent.after_update()
        self.progress.updates += 1
        self.averages.updates += 1
        self.averages.add("train/loss", loss.detach().cpu())
        self.averages.add("train/gradient_norm", norm.cpu())
        self.averages.add("train/learning_rate", rate)
        for name, value in metrics.items():
            self.averages.add(f"train/{name}", value.detach().float().cpu())

    def _tensors(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        arrays = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
        return {k: torch.from_numpy(v).to(self.fabric.device) for k, v in arrays.items()}

    def _give_up(self, why: str) -> None:
        checkpoints.give_up(self.run.folder / "checkpoints", why, self.progress.updates)

    def _summary(self) -> dict[str, Any]:
        """How the training went, for ``results.json``."""
        progress = self.progress
        return {
            "env_steps": progress.env_steps,
            "episodes": progress.episodes,
            "updates": progress.updates,
            "seconds": progress.seconds,
            "seconds_collecting": progress.collecting,
            "length": progress.longest,
            "best": progress.best if math.isfinite(progress.best) else None,
            "history": progress.history,
            "curriculum": progress.mastered,
            "parameters": sum(p.numel() for p in self.trained),
        }

    # -- what surrounds it -----------------------------------------------------------------------

    def _score_at(self, value: int) -> float:
        """Plays episodes at this stage of the curriculum; returns their mean."""
        record = evaluate_policy(
            self.agent, self.config.environment, **self.config.evaluation_arguments(),
            parameter=self.settings.curriculum_option, value=value,
        )  # fmt: skip
        self._log({f"eval/{record['metric']}/{value}": record["mean"]})
        mean: float = record["mean"]
        return mean

    def _evaluate(self) -> bool:
        """Plays episodes at the values that are watched; returns whether they are the best so far.

        As long as the environment grows, it is judged by the curriculum alone.
        """
        evaluation, progress = self.config.evaluation, self.progress
        counts = ("env_steps", "updates", "seconds")
        self.growth.go_on(self._score_at, {name: getattr(progress, name) for name in counts})
        if self.growth.value is not None:
            return False
        values: tuple[int | None, ...] = evaluation.values_in_training or (None,)
        metrics: dict[str, float] = {}
        returns = []
        for value in values:
            record = evaluate_policy(
                self.agent, self.config.environment, **self.config.evaluation_arguments(),
                parameter=evaluation.parameter, value=value,
            )  # fmt: skip
            suffix = "" if value is None else f"/{value}"
            metrics[f"eval/return{suffix}"] = record["return_mean"]
            returns.append(record["return_mean"])
            if record["metric"] == "success":
                metrics[f"eval/success{suffix}"] = record["mean"]
        self._log(metrics)
        progress.history.append(
            {
                "env_steps": progress.env_steps,
                "updates": progress.updates,
                "seconds": progress.seconds,
                "mean": record["mean"],
                "return": record["return_mean"],
            }
        )
        stop_at = self.settings.stop_at_return
        progress.stopped = stop_at is not None and min(returns) >= stop_at
        metric, mean = record["metric"], record["mean"]
        best = is_better(metric, mean, progress.best_metric, progress.best)
        if best:
            progress.best, progress.best_metric = mean, metric
        return best

    def _log(self, metrics: dict[str, float]) -> None:
        progress = self.progress
        counts = {name: getattr(progress, name) for name in ("env_steps", "episodes", "updates")}
        self.logger.log(progress.env_steps, {**counts, **metrics})
        if self.report is not None:
            done = progress.env_steps if self.settings.unit == "step" else progress.episodes
            self.report(done, metrics)

    def _save(self, *, best: bool = False) -> None:
        if not all(bool(p.isfinite().all()) for p in self.agent.parameters()):
            self._give_up("a weight is not a number")
        training = {
            "optimiser": self.optimiser.state_dict(),
            **self._state(),
            "replay": None if self.replay is None else _as_tensors(self.replay.state_dict()),
        }
        folder = self.run.folder / "checkpoints"
        checkpoints.save(folder, self.progress.env_steps, self.agent, training, best=best)
        checkpoints.prune(folder, self.settings.keep_checkpoints)

    def _state(self) -> dict[str, Any]:
        """What changes beside weights, optimiser and replay."""
        return {
            "progress": dict(vars(self.progress)),
            # A checkpoint may come between two lines of metrics.
            "averages": copy.deepcopy(self.averages.state()),
            "random": checkpoints.random_state(),
        }

    def _go_back(self, state: dict[str, Any]) -> None:
        """Puts back what `_state` gave."""
        vars(self.progress).update(state["progress"])
        vars(self.averages).update(state["averages"])
        checkpoints.restore_random_state(state["random"])

    def _restore(self, checkpoint: Path) -> None:
        state = checkpoints.load_training(checkpoint)
        try:
            self.optimiser.load_state_dict(state["optimiser"])
            self.progress = _Progress(**state["progress"])
            self._go_back(state)
            if self.replay is not None:
                self.replay.load_state_dict(state["replay"])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"{checkpoint / checkpoints.TRAINING} does not fit the run ({error!r}); "
                "it can be evaluated but not resumed"
            ) from None


def _as_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Arrays as tensors, which a checkpoint can hold without pickled objects."""
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in state.items()}
