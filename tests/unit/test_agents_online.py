"""The losses of the online agents, against loops written step by step."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from retain.agents.a2c import A2C, A2CConfig
from retain.agents.dqn import DQN, DQNConfig
from retain.agents.online import OnlineAgent, OnlineAgentConfig
from retain.agents.ppo import PPO, PPOConfig
from retain.agents.sac import SAC, SACConfig
from retain.agents.sac_discrete import SACDiscrete, SACDiscreteConfig
from retain.core.errors import ConfigError
from retain.memory import ModelConfig
from retain.models import MODELS
from retain.models.lstm import LSTMConfig
from retain.models.rate import RATEConfig
from retain.nn.valve import ValveConfig
from retain.tokens import StepTokenConfig

OBSERVATIONS = gym.spaces.Box(-1, 1, (3,), np.float32)
ACTIONS = gym.spaces.Discrete(4, start=2)
BOX = gym.spaces.Box(-2, 1, (2, 1), np.float64)
TOKENS = StepTokenConfig(action_width=3, reward_width=2, layers=2)
AGENTS: dict[str, tuple[type[OnlineAgent], Any]] = {
    "dqn": (DQN, DQNConfig),
    "sac_discrete": (SACDiscrete, SACDiscreteConfig),
    "sac": (SAC, SACConfig),
    "a2c": (A2C, A2CConfig),
    "ppo": (PPO, PPOConfig),
}
DISCRETE = [name for name in AGENTS if gym.spaces.Discrete in AGENTS[name][0].actions]
BOXED = [name for name in AGENTS if gym.spaces.Box in AGENTS[name][0].actions]
# Other tests may have registered models of examples by now.
OWN_MODELS = [name for name in MODELS.names() if MODELS.get(name).__module__.startswith("retain.")]


@pytest.fixture(autouse=True)
def _double_precision():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def make(
    name: str,
    model: ModelConfig | None = None,
    *,
    actions: gym.Space[Any] | None = None,
    **options: Any,
) -> OnlineAgent:
    agent_class, config_class = AGENTS[name]
    if actions is None:
        actions = ACTIONS if name in DISCRETE else BOX
    config = config_class(**{"hidden": (8,), "tokens": TOKENS, **options})
    agent = agent_class(config, model or LSTMConfig(width=12), OBSERVATIONS, actions)
    with torch.no_grad():
        for label, parameter in agent.named_parameters():
            if label != "log_temperature":  # heads start near zero, which hides faults
                parameter.add_(0.3 * torch.randn_like(parameter))
    return agent


def small(model: str) -> ModelConfig:
    """Settings of a registered model."""
    config = MODELS.get(model).Config(width=12, context_length=4)
    heads = {name: 2 for name in ("num_heads", "head_width") if hasattr(config, name)}
    return replace(config, **heads)


def experience(lengths: list[int], *, cut: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
    """Episodes of these lengths; those in `cut` did not end for good."""
    rows, steps = len(lengths), max(lengths)
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    terminated = torch.zeros(rows, steps, dtype=torch.bool)
    for row, length in enumerate(lengths):
        terminated[row, length - 1] = row not in cut
    return {
        "observation": torch.randn(rows, steps + 1, 3),
        "action": torch.randint(2, 6, (rows, steps)),
        "reward": torch.randn(rows, steps) * mask,
        "terminated": terminated,
        "mask": mask,
        "previous_action": torch.randint(2, 6, (rows,)),
        "previous_reward": torch.randn(rows),
        "begins": torch.ones(rows, dtype=torch.bool),
        "read_before": torch.zeros(rows, dtype=torch.int64),
    }


def boxed(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The experience with actions within the box instead."""
    inside = 2.8 * torch.rand(*batch["mask"].shape, 2, 1) - 1.9
    return {**batch, "action": inside, "previous_action": inside[:, 0]}


def experience_of(name: str, *arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
    """Experience of an agent that `make` makes."""
    batch = experience(*arguments, **options)
    return batch if name in DISCRETE else boxed(batch)


def features(agent: OnlineAgent, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    memory = agent.network.model.initial_state(len(batch["mask"]))
    return agent.network(batch, memory)[0]


def network_tokens(agent: OnlineAgent, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The tokens of all steps of a batch of episodes, [B, T, D]."""
    steps = batch["action"].shape[1]
    begins = torch.arange(steps).expand(len(batch["mask"]), -1) == 0
    return agent.network.tokens(
        torch.cat([batch["previous_action"][:, None], batch["action"][:, :-1]], 1),
        torch.cat([batch["previous_reward"][:, None], batch["reward"][:, :-1]], 1),
        batch["observation"][:, :steps],
        begins,
    )


def initial(agent: OnlineAgent, batch: dict[str, torch.Tensor]) -> Any:
    return agent.network.model.initial_state(len(batch["mask"]))


def first_loss(agent: OnlineAgent, batch: dict[str, torch.Tensor]) -> Any:
    """The loss and the metrics of a batch before any update."""
    return agent(agent.prepare(batch, initial(agent, batch)), initial(agent, batch))


@pytest.mark.parametrize("double", [True, False])
def test_dqn_is_the_loop_over_steps(double):
    agent = make("dqn", double=double, discount=0.9)
    for parameter in agent.target.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    batch = experience([4, 1, 6], cut=(2,))
    q = agent.online.head(features(agent, batch))
    target = agent.target(batch, initial(agent, batch))[0]
    errors = []
    for row, length in enumerate([4, 1, 6]):
        for t in range(length):
            best = (q if double else target)[row, t + 1].argmax()
            goes_on = 0.0 if row != 2 and t == length - 1 else 1.0
            y = batch["reward"][row, t] + 0.9 * goes_on * target[row, t + 1, best]
            errors.append((q[row, t, batch["action"][row, t] - 2] - y.detach()) ** 2)
    expected = torch.stack(errors).mean()
    loss, metrics = agent(batch, initial(agent, batch))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["td_loss"], expected)
    loss.backward()
    assert all(p.grad is None for p in agent.target.parameters())
    assert all(p.grad is not None for p in agent.online.parameters())


@pytest.mark.parametrize("name", OWN_MODELS)
def test_a_target_comes_from_the_target_networks_parameters_alone(name):
    agent = make("dqn", small(name), double=False, discount=0.9).eval()
    for parameter in agent.target.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    batch = experience([4, 2])
    own = agent.target(batch, agent.target.memory.model.initial_state(2))[0]
    goal = batch["reward"] + 0.9 * ~batch["terminated"] * own[:, 1:].max(-1).values
    q = agent.online(batch, initial(agent, batch))[0][:, :-1]
    taken = q.gather(-1, (batch["action"] - 2)[..., None])[..., 0]
    expected = ((taken - goal) ** 2)[batch["mask"]].mean()
    torch.testing.assert_close(agent(batch, initial(agent, batch))[1]["td_loss"], expected)


def test_the_target_follows_at_its_rate():
    agent = make("dqn", target_rate=0.25)
    before = [p.clone() for p in agent.target.parameters()]
    agent.after_update()
    for old, target, online in zip(
        before, agent.target.parameters(), agent.online.parameters(), strict=True
    ):
        torch.testing.assert_close(target.data, 0.75 * old + 0.25 * online.data)


def test_sac_is_the_losses_of_frozen_critics():
    agent = make("sac_discrete", discount=0.8, temperature=0.3)
    for parameter in agent.targets.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    batch = experience([5, 2], cut=(1,))
    mask, rows = batch["mask"], torch.arange(2)[:, None]
    z = features(agent, batch)
    logits = agent.actor(z)
    policy, log_policy = F.softmax(logits, -1), F.log_softmax(logits, -1)
    with torch.no_grad():
        least = torch.minimum(*agent.targets(z))
        value = (policy * (least - 0.3 * log_policy)).sum(-1)
        y = batch["reward"] + 0.8 * (~batch["terminated"]) * value[:, 1:]
    chosen = rows, torch.arange(5), batch["action"] - 2
    critic = sum(((q[chosen] - y) ** 2)[mask].mean() for q in agent.critics(z)) / 2
    frozen = copy.deepcopy(agent.critics).requires_grad_(False)
    best = torch.minimum(*frozen(z.detach()))
    actor = (policy * (0.3 * log_policy - best)).sum(-1)[:, :-1][mask].mean()
    loss, metrics = agent(batch, initial(agent, batch))
    torch.testing.assert_close(loss, critic + actor)
    torch.testing.assert_close(metrics["critic_loss"], critic)
    mine = torch.autograd.grad(
        loss, list(agent.network.parameters()) + list(agent.critics.parameters())
    )
    theirs = torch.autograd.grad(
        critic + actor, list(agent.network.parameters()) + list(agent.critics.parameters())
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_the_temperature_is_fixed_or_seeks_its_entropy():
    batch = experience([3, 3])
    assert not make("sac_discrete").log_temperature.requires_grad
    for target, sign in ((0.01, 1), (1.0, -1)):  # too much entropy: colder, so the gradient is > 0
        agent = make("sac_discrete", learn_temperature=True, target_entropy=target)
        loss, metrics = agent(batch, initial(agent, batch))
        loss.backward()
        wanted = target * math.log(4)
        torch.testing.assert_close(agent.log_temperature.grad, metrics["entropy"].detach() - wanted)
        assert sign * float(agent.log_temperature.grad) > 0


def test_sac_in_boxes_is_the_loop_over_steps():
    """With what the policy drew; the unit is half the box's width of 3, and its middle is -0.5."""
    agent = make("sac", discount=0.8, temperature=0.3, target_entropy=-0.5)
    for parameter in agent.targets.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    lengths = [5, 2]
    batch = boxed(experience(lengths, cut=(1,)))
    z = features(agent, batch)
    mean, spread = agent.actor(z).chunk(2, -1)
    deviation = (-5 + 7 * (torch.tanh(spread) + 1) / 2).exp()
    torch.manual_seed(3)
    number = mean + deviation * torch.randn_like(mean)
    drawn = torch.tanh(number)
    density = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, deviation), torch.distributions.transforms.TanhTransform()
    )
    log_policy = density.log_prob(drawn).sum(-1)
    frozen = copy.deepcopy(agent.critics).requires_grad_(False)

    def least(critics: Any, features: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return min(values.squeeze() for values in critics(torch.cat([features, action])))

    errors, gains = [], []
    for row, length in enumerate(lengths):
        for t in range(length):
            goes_on = 0.0 if row != 1 and t == length - 1 else 1.0
            value = least(agent.targets, z[row, t + 1], drawn[row, t + 1])
            soft = value - 0.3 * log_policy[row, t + 1]
            y = batch["reward"][row, t] + 0.8 * goes_on * soft.detach()
            taken = (batch["action"][row, t].flatten() + 0.5) / 1.5
            for values in agent.critics(torch.cat([z[row, t], taken])):
                errors.append((values.squeeze() - y) ** 2)
            best = least(frozen, z[row, t].detach(), drawn[row, t])
            gains.append(best - 0.3 * log_policy[row, t])
    entropy = -torch.stack([log_policy[0, t] for t in range(5)] + [*log_policy[1, :2]]).mean()
    heat = agent.log_temperature * (entropy.detach() + 0.5 * 2)
    expected = torch.stack(errors).mean() - torch.stack(gains).mean() + heat
    torch.manual_seed(3)
    loss, metrics = agent(batch, initial(agent, batch))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["entropy"], entropy)
    parameters = [p for p in agent.parameters() if p.requires_grad]
    mine, theirs = (torch.autograd.grad(of, parameters) for of in (loss, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_sac_takes_no_notice_of_components_that_cannot_vary():
    """One of three components has one value alone."""
    bounds = np.array([-2.0, 0.1, -2.0]), np.array([1.0, 0.1, 1.0])
    agent = make("sac", actions=gym.spaces.Box(*bounds, dtype=np.float64), target_entropy=-0.5)
    batch = boxed(experience([5, 2]))
    inside = batch["action"].flatten(2)
    alone = torch.full((2, 5, 1), 0.1)
    batch["action"] = torch.cat([inside[..., :1], alone, inside[..., 1:]], -1)
    batch["previous_action"] = batch["action"][:, 0]
    loss, metrics = agent(batch, initial(agent, batch))
    wanted = -0.5 * 2
    gradient = torch.autograd.grad(loss, agent.log_temperature, retain_graph=True)[0]
    torch.testing.assert_close(gradient, metrics["entropy"].detach() - wanted)
    outputs = [*(p for p in agent.actor.parameters())][-1]  # biases: means, then deviations
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert torch.equal(gradient != 0, torch.tensor([True, False, True] * 2))
    many = torch.zeros(9, 3), torch.zeros(9), torch.ones(9, dtype=torch.bool)
    for epsilon in (None, 0.0, 1.0):
        action, _, _ = agent.act(*many, agent.acting_state(9), epsilon=epsilon)
        assert (action[:, 1] == 0.1).all()


def test_random_actions_in_a_box_are_uniform():
    agent, rows = make("sac").eval(), 4000
    many = torch.zeros(rows, 3), torch.zeros(rows), torch.ones(rows, dtype=torch.bool)
    action, _, _ = agent.act(*many, agent.acting_state(rows), epsilon=1.0)
    assert action.shape == (rows, 2, 1)
    for component in action.flatten(1).T:
        quantiles = component.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
        expected = torch.tensor([-2.0, -1.25, -0.5, 0.25, 1.0])
        torch.testing.assert_close(quantiles, expected, rtol=0, atol=0.1)
    torch.manual_seed(0)
    some, _, _ = agent.act(*many, agent.acting_state(rows), epsilon=0.5)
    torch.manual_seed(0)
    none, _, _ = agent.act(*many, agent.acting_state(rows), epsilon=0.0)
    same = (some == none).flatten(1)
    assert torch.equal(same.all(1), same.any(1))  # a whole action is drawn, or none of it
    assert float(same.all(1).double().mean()) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("normalize", ["episode", "batch", "none"])
def test_a2c_from_whole_episodes_is_the_published_loss(normalize):
    agent = make("a2c", normalize=normalize, discount=0.9, entropy_weight=0.1)
    lengths = [4, 1, 6]
    batch = experience(lengths)
    z = features(agent, batch)
    log_policy, value = F.log_softmax(agent.actor(z), -1), agent.critic(z)[..., 0]
    goals = []
    for row, length in enumerate(lengths):
        goal = [
            sum(0.9 ** (k - t) * float(batch["reward"][row, k]) for k in range(t, length))
            for t in range(length)
        ]
        goals.append(np.array(goal))
    everything = np.concatenate(goals)
    total = 0.0
    for row, goal in enumerate(goals):
        base = {"episode": goal, "batch": everything, "none": None}[normalize]
        if base is not None:
            goal = goal - base.mean()
            goal = goal / base.std() if base.std() > 1e-6 else goal
        for t, wanted in enumerate(goal):
            delta = wanted - value[row, t]
            taken = log_policy[row, t, batch["action"][row, t] - 2]
            entropy = -(log_policy[row, t].exp() * log_policy[row, t]).sum()
            total = total - taken * delta.detach() + 0.5 * delta**2 - 0.1 * entropy
    loss, _ = agent(batch, initial(agent, batch))
    torch.testing.assert_close(loss, total / 3)


@pytest.mark.parametrize("cut", [(), (0, 1)])
def test_a2c_from_runs_of_steps_is_generalised_advantage_estimation(cut):
    agent = make("a2c", num_steps=5, normalize="none", discount=0.9, gae_lambda=0.7)
    batch = experience([5, 3], cut=cut)
    z = features(agent, batch)
    log_policy, value = F.log_softmax(agent.actor(z), -1), agent.critic(z)[..., 0].detach()
    total = 0.0
    for row, length in enumerate([5, 3]):
        for t in range(length):
            advantage = 0.0
            for k in range(t, length):  # the sum of discounted errors, written out
                last = bool(batch["terminated"][row, k])
                error = batch["reward"][row, k] - value[row, k]
                error = error + (0 if last else 0.9 * value[row, k + 1])
                advantage = advantage + (0.9 * 0.7) ** (k - t) * error
            taken = log_policy[row, t, batch["action"][row, t] - 2]
            total = total - taken * advantage
            total = total + 0.5 * (advantage + value[row, t] - agent.critic(z)[row, t, 0]) ** 2
    loss, _ = agent(batch, initial(agent, batch))
    torch.testing.assert_close(loss, total / 2)


def test_a2c_in_mixed_precision_does_not_round_the_discount():
    torch.set_default_dtype(torch.float32)
    agent = make("a2c", num_steps=400, normalize="none", discount=0.999, gae_lambda=1.0)
    for parameter in agent.critic.parameters():
        parameter.data.zero_()  # values of zero, so that nothing else can be rounded
    batch = experience([400], cut=(0,))
    batch["reward"] = torch.ones(1, 400)
    with torch.autocast("cpu", torch.bfloat16):
        loss = agent(batch, initial(agent, batch))[1]["value_loss"]
    returns = [sum(0.999**k for k in range(length)) for length in range(1, 401)]
    assert loss.item() == pytest.approx(sum(r**2 for r in returns), rel=1e-4)


@pytest.mark.parametrize("num_steps", [1, None])
def test_a2c_learns_from_one_step_alone(num_steps):
    agent, batch = make("a2c", num_steps=num_steps, normalize="batch"), experience([1])
    agent(batch, initial(agent, batch))[0].backward()
    assert all(bool((p.grad != 0).any()) for p in agent.actor.parameters())


def moved_ppo(**options: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """An agent whose policy is no longer the one that played, and what was played."""
    agent = make("ppo", discount=0.9, gae_lambda=0.7, **options)
    batch = experience([5, 3], cut=(1,))
    batch = agent.prepare(batch, initial(agent, batch))
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return agent, batch


@pytest.mark.parametrize("normalize", [True, False])
def test_ppo_is_the_clipped_objective_step_by_step(normalize):
    agent, batch = moved_ppo(clip=0.1, entropy_weight=0.2, normalize_advantages=normalize)
    real = [(row, t) for row, length in enumerate([5, 3]) for t in range(length)]
    advantage = {at: batch["advantage"][at] for at in real}
    if normalize:
        numbers = torch.stack(list(advantage.values()))
        deviation = numbers.std(correction=0)
        advantage = {at: (a - numbers.mean()) / deviation for at, a in advantage.items()}
    z = features(agent, batch)
    log_policy, value = F.log_softmax(agent.actor(z), -1), agent.critic(z)[..., 0]
    total, clipped = 0.0, 0
    for at in real:
        ratio = (log_policy[at][batch["action"][at] - 2] - batch["log_taken"][at]).exp()
        a, moved = advantage[at], float(ratio.detach())
        within = min(max(moved, 0.9), 1.1)
        clipped += within != moved
        gain = ratio * a if moved * a <= within * a else within * a
        entropy = -(log_policy[at].exp() * log_policy[at]).sum()
        total = total - gain + 0.5 * (batch["goal"][at] - value[at]) ** 2 - 0.2 * entropy
    assert 0 < clipped < len(real)  # both sides of the minimum
    loss, metrics = agent(batch, initial(agent, batch))
    torch.testing.assert_close(loss, total / len(real))
    assert float(metrics["clipped"]) == pytest.approx(clipped / len(real))
    assert float(metrics["kl"].detach()) > 0
    parameters = [p for p in agent.parameters() if p.requires_grad]
    mine = torch.autograd.grad(loss, parameters)
    theirs = torch.autograd.grad(total / len(real), parameters)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_ppo_takes_the_advantages_of_the_policy_that_played():
    agent, steps = make("ppo"), make("a2c", num_steps=5, normalize="none")
    steps.load_state_dict(agent.state_dict())
    batch = experience([5, 3], cut=(1,))
    prepared = agent.prepare(batch, initial(agent, batch))
    _, value, _ = steps.read(batch, initial(agent, batch))
    mask = batch["mask"]
    expected = steps.advantages(batch, value)[mask]
    torch.testing.assert_close(prepared["advantage"][mask], expected)
    torch.testing.assert_close(prepared["goal"][mask], expected + value[:, :-1][mask])
    metrics = first_loss(agent, batch)[1]
    assert float(metrics["kl"].detach()) == pytest.approx(0, abs=1e-12)
    assert float(metrics["clipped"]) == 0
    assert not any(prepared[name].requires_grad for name in ("log_taken", "advantage", "goal"))


@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_the_heads_of_policy_and_critic_are_not_in_mixed_precision(name):
    torch.set_default_dtype(torch.float32)
    agent = make(name, num_steps=6, **({"normalize": "none"} if name == "a2c" else {}))
    with torch.no_grad():
        agent.critic[-1].bias.fill_(100.0)  # as large as values of CartPole
    batch = experience([6, 4])
    with torch.autocast("cpu", torch.bfloat16):
        log_policy, value, _ = agent.read(batch, initial(agent, batch))
        loss, _ = first_loss(agent, batch)
    assert (log_policy.dtype, value.dtype) == (torch.float32, torch.float32)
    expected = agent.read(batch, initial(agent, batch))
    torch.testing.assert_close(value, expected[1], rtol=0, atol=0.1)  # the memory's own rounding
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", ["dqn", "sac_discrete"])
def test_values_are_not_rounded_in_mixed_precision(name):
    torch.set_default_dtype(torch.float32)
    agent = make(name)
    heads = [agent.online.head, agent.target.head] if name == "dqn" else []
    heads += [] if name == "dqn" else [*agent.critics.children(), *agent.targets.children()]
    with torch.no_grad():
        for head in heads:
            head[-1].weight.zero_()
            head[-1].bias.copy_(100 + torch.tensor([0.0, 0.1, 0.2, 0.1]))
    batch = experience([6, 4])
    batch["reward"] = torch.ones_like(batch["reward"])
    expected = first_loss(agent, batch)[1]
    with torch.autocast("cpu", torch.bfloat16):
        found = first_loss(agent, batch)[1]
    error = "td_loss" if name == "dqn" else "critic_loss"
    torch.testing.assert_close(found["q"], expected["q"], rtol=0, atol=0.02)
    torch.testing.assert_close(found[error], expected[error], rtol=0.05, atol=0)


def test_a_policy_that_moved_far_in_the_padding_leaves_ppo_its_loss():
    agent, batch = make("ppo", actions=BOX), boxed(experience([5, 2]))
    prepared = agent.prepare(batch, initial(agent, batch))
    expected, _ = agent(prepared, initial(agent, batch))
    prepared["log_taken"][1, 2:] = -1e4  # there any action may follow any observation
    loss, metrics = agent(prepared, initial(agent, batch))
    torch.testing.assert_close(loss, expected)
    assert all(bool(value.isfinite()) for value in metrics.values())


def test_ppo_compares_policies_without_dropout():
    model = replace(small("gpt2"), dropout=0.5)
    agent, batch = make("ppo", model), experience([5, 3])
    one, other = (agent.prepare(batch, initial(agent, batch)) for _ in range(2))
    torch.testing.assert_close(one["log_taken"], other["log_taken"])
    assert agent.training


@pytest.mark.parametrize(
    ("minibatches", "sizes"), [(1, [5]), (2, [3, 2]), (4, [2, 1, 1, 1]), (9, [1] * 5)]
)
def test_a_pass_of_ppo_has_every_episode_once(minibatches, sizes):
    agent = make("ppo", small("rate"), epochs=3, minibatches=minibatches)
    batch = experience([3, 1, 2, 2, 4, 1])
    batch["mask"][5] = False  # over before this run of steps began
    memory = agent.network.model.initial_state(6)
    batch["read_before"][:] = 4  # so that the memory is the one given
    marked = replace(memory, memory_BMD=torch.arange(6.0)[:, None, None] + memory.memory_BMD)
    passes = list(agent.passes({**batch, "row": torch.arange(6)}, marked))
    assert [len(part["row"]) for part, _ in passes] == sizes * 3
    orders = [part["row"].tolist() for part, _ in passes]
    for epoch in range(3):
        seen = itertools.chain(*orders[epoch * len(sizes) : (epoch + 1) * len(sizes)])
        assert sorted(seen) == [0, 1, 2, 3, 4]
    for part, state in passes:
        torch.testing.assert_close(state.memory_BMD, marked.memory_BMD[part["row"]])
    if minibatches == 9:
        assert len({tuple(itertools.chain(*orders[i * 5 : i * 5 + 5])) for i in range(3)}) > 1


def test_a_first_memory_that_is_learned_is_read_anew_in_each_pass_of_ppo():
    agent = make("ppo", small("rate"), epochs=2, minibatches=2)
    batch = experience([3, 5])
    memory = initial(agent, batch)
    batch = agent.prepare(batch, memory)
    first = agent.network.model.memory_MD
    optimiser = torch.optim.SGD(agent.parameters(), lr=0.1)
    grown = []
    for part, start in agent.passes(batch, memory):
        torch.testing.assert_close(start.memory_BMD[0], agent.network.model.first_memory())
        loss, _ = agent(part, start)
        optimiser.zero_grad()
        loss.backward()
        grown.append(float(first.grad.abs().sum()))
        optimiser.step()
    assert len(grown) == 4
    assert min(grown) > 0


@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_boxes_have_the_loss_of_a_normal_distribution(name):
    """Within the bounds; the unit is half the box's width of 3, and its middle is -0.5."""
    options = {"normalize": "none"} if name == "a2c" else {"normalize_advantages": False}
    agent = make(name, actions=BOX, entropy_weight=0.3, **options)
    batch = boxed(experience([5, 3], cut=(1,)))
    prepared = agent.prepare(batch, initial(agent, batch))
    z = features(agent, batch)
    value = agent.critic(z)[..., 0]
    policy = torch.distributions.Normal(agent.actor(z), agent.distribution.log_deviation.exp())
    total = 0.0
    for row, length in enumerate([5, 3]):
        for t in range(length):
            taken = (batch["action"][row, t].flatten() + 0.5) / 1.5
            log = policy.log_prob(taken)[row, t].sum()
            if name == "a2c":
                goal = sum(0.99**k * batch["reward"][row, t + k] for k in range(length - t))
                gain, share = log * (goal - value[row, t].detach()), 1 / 2  # of two episodes
            else:
                goal = prepared["goal"][row, t]
                gain, share = (log - log.detach()).exp() * prepared["advantage"][row, t], 1 / 8
            error = (goal - value[row, t]) ** 2
            total += share * (0.5 * error - gain - 0.3 * policy.entropy()[row, t].sum())
    loss, metrics = agent(prepared, initial(agent, batch))
    torch.testing.assert_close(loss, total)
    if name == "ppo":
        assert float(metrics["kl"].detach()) == pytest.approx(0, abs=1e-12)
    parameters = [p for p in agent.parameters() if p.requires_grad]
    assert any(p is agent.distribution.log_deviation for p in parameters)
    mine, theirs = (torch.autograd.grad(of, parameters) for of in (loss, total))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", BOXED)
def test_acting_in_boxes_reads_what_training_reads_and_stays_within_the_bounds(name):
    agent = make(name, actions=BOX).eval()
    batch = experience([6, 6])
    state = agent.acting_state(2)
    reward, reset = torch.zeros(2), torch.ones(2, dtype=torch.bool)
    taken, seen = [], []
    for t in range(7):
        action, scores, state = agent.act(
            batch["observation"][:, t], reward, reset, state, epsilon=0.0
        )
        assert all(BOX.contains(row) for row in action.numpy())
        taken.append(action)
        seen.append(scores)
        reward, reset = batch["reward"][:, min(t, 5)], torch.zeros(2, dtype=torch.bool)
    assert len(torch.stack(taken).unique()) > 10  # sampled
    batch["action"], batch["previous_action"] = torch.stack(taken[:6], 1), 0 * taken[0]
    expected = agent.scores(features(agent, batch))
    torch.testing.assert_close(torch.stack(seen, 1), expected)
    state = agent.acting_state(2)
    best = [
        agent.act(batch["observation"][:, 0], torch.zeros(2), ~reset, state)[0] for _ in range(2)
    ]
    assert torch.equal(*best)
    assert not agent.looks_ahead


@pytest.mark.parametrize("name", AGENTS)
def test_padding_changes_nothing(name):
    agent, batch = make(name), experience_of(name, [3, 5])
    torch.manual_seed(1)
    loss, _ = first_loss(agent, batch)
    changed = {k: v.clone() for k, v in batch.items()}
    changed["observation"][0, 4:] = 7.0
    changed["action"][0, 3:] = 5 if name in DISCRETE else 1.0
    changed["reward"][0, 3:] = -9.0
    torch.manual_seed(1)
    again, _ = first_loss(agent, changed)
    torch.testing.assert_close(loss, again)


@pytest.mark.parametrize("name", AGENTS)
def test_acting_reads_what_training_reads(name):
    agent = make(name, skip=True).eval()
    batch = experience_of(name, [6, 6])
    expected = agent.scores(features(agent, batch))
    state = agent.acting_state(2)
    reward, reset = torch.randn(2), torch.ones(2, dtype=torch.bool)
    for t in range(7):
        _, scores, state = agent.act(batch["observation"][:, t], reward, reset, state)
        torch.testing.assert_close(scores, expected[:, t])
        if t < 6:
            # What was taken in the batch, not what the agent would do.
            state = type(state)(state.memory, batch["action"][:, t])
            reward, reset = batch["reward"][:, t], torch.zeros(2, dtype=torch.bool)


@pytest.mark.parametrize("model", ["lstm", "gpt2", "rate"])
@pytest.mark.parametrize("name", [name for name in AGENTS if AGENTS[name][0].from_replay])
def test_a_burn_in_is_read_and_not_learned_from(name, model):
    agent, batch = make(name, small(model)).eval(), experience_of(name, [5, 5])
    batch["observation"].requires_grad_()

    def loss(*steps: int) -> torch.Tensor:
        torch.manual_seed(1)
        mask = torch.zeros(2, 5, dtype=torch.bool)
        mask[:, list(steps)] = True
        _, metrics = agent({**batch, "mask": mask}, initial(agent, batch))
        return metrics["td_loss" if name == "dqn" else "critic_loss"]

    apart = torch.stack([loss(step) for step in range(5)])
    torch.testing.assert_close(loss(0, 1, 2, 3, 4), apart.mean())
    torch.testing.assert_close(loss(2, 3, 4), apart[2:].mean())
    (gradient,) = torch.autograd.grad(loss(2, 3, 4), batch["observation"])
    assert bool((gradient[:, 0] != 0).any())  # through the memory


def test_a_window_goes_on_from_the_action_before_it():
    agent, batch = make("dqn").eval(), experience([4, 4])
    batch["begins"][:] = False
    z = features(agent, batch)
    batch["previous_action"] = 2 + (batch["previous_action"] - 1) % 4
    assert not torch.allclose(z[:, 0], features(agent, batch)[:, 0])
    batch["begins"][:] = True
    z = features(agent, batch)
    batch["previous_reward"] += 1
    torch.testing.assert_close(z, features(agent, batch))


def test_exploration_is_uniform_by_epsilon_and_sampled_where_the_policy_is():
    rows = 4000
    observation, reward = torch.randn(1, 3).expand(rows, 3), torch.zeros(rows)
    reset = torch.ones(rows, dtype=torch.bool)
    for name in DISCRETE:
        agent = make(name).eval()

        def shares(agent: OnlineAgent = agent, **options: Any) -> torch.Tensor:
            with torch.no_grad():
                action, scores, _ = agent.act(
                    observation, reward, reset, agent.acting_state(rows), **options
                )
            assert action.min() >= 2
            counts = torch.bincount(action - 2, minlength=4) / rows
            return torch.stack([counts, F.softmax(scores[0], -1), scores[0]])

        counts, _, scores = shares()
        assert counts[scores.argmax()] == 1.0
        counts, _, _ = shares(epsilon=1.0)
        assert (counts - 0.25).abs().max() < 0.04
        counts, policy, scores = shares(epsilon=0.0)
        expected = policy if agent.stochastic() else F.one_hot(scores.argmax(), 4)
        assert (counts - expected).abs().max() < 0.04


def test_evaluation_samples_where_it_is_told_to():
    agent = make("a2c", sample_actions=True)
    many = torch.zeros(500, 3), torch.zeros(500), torch.ones(500, dtype=torch.bool)
    action, _, _ = agent.act(*many, agent.acting_state(500))
    assert len(action.unique()) > 1


def test_the_memory_asks_for_its_cost_in_whole_segments_alone():
    valve = ValveConfig(kind="retaining")
    model = RATEConfig(
        width=12, num_heads=2, head_width=6, context_length=3, num_memory_tokens=2, valve=valve
    )
    agent = make("dqn", model)
    agent.eval()
    batch = experience([6, 4])
    memory = initial(agent, batch)
    _, metrics = agent(batch, memory)
    network = agent.network
    x = network.tokens(
        torch.cat([batch["previous_action"][:, None], batch["action"]], 1),
        torch.cat([batch["previous_reward"][:, None], batch["reward"]], 1),
        batch["observation"],
        torch.tensor([[True] + [False] * 6] * 2),
    )
    costs = []
    for segment in range(2):
        before = memory
        _, memory = network.model(x[:, 3 * segment : 3 * segment + 3], memory)
        costs.append(network.model.regularizer(before, memory))
    # Two whole segments in the first row, one in the second.
    expected = (costs[0][0] + costs[0][1] + costs[1][0]) / 3
    assert float(expected.detach()) > 0
    torch.testing.assert_close(metrics["memory_cost"], expected)
    # Cut into runs of any length, each run pays for the segments that end in it.
    agent = make("a2c", model, num_steps=2, normalize="none").eval()
    for length in (1, 2, 4):
        whole, paid = initial(agent, batch), 0.0
        for start in range(0, 6, length):
            stop = min(start + length, 6)
            if start:  # as the collector does: the memory has read what came before
                before = {k: v[:, :start] for k, v in batch.items() if v.dim() > 1}
                read = network_tokens(agent, {**batch, **before})
                whole = agent.network.model(read, initial(agent, batch))[1]
            run = {
                **batch,
                **{k: v[:, start:stop] for k, v in batch.items() if v.dim() > 1},
                "observation": batch["observation"][:, start : stop + 1],
                "read_before": batch["read_before"] + start,
            }
            if start:
                run["previous_action"] = batch["action"][:, start - 1]
                run["previous_reward"] = batch["reward"][:, start - 1]
                run["begins"] = ~batch["begins"]
            ended = sum(int(run["mask"][:, t].sum()) for t in range(stop - start)
                        if (start + t + 1) % 3 == 0)  # fmt: skip
            paid += ended * float(agent(run, whole)[1]["memory_cost"].detach())
        whole_cost = float(agent(batch, initial(agent, batch))[1]["memory_cost"].detach())
        assert paid / 3 == pytest.approx(whole_cost, rel=1e-6), length


@pytest.mark.no_cover
@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("model", OWN_MODELS)
def test_every_model_learns_with_every_agent(name, model):
    """One update changes the weights and gives finite numbers."""
    agent = make(name, small(model))
    batch = experience_of(name, [5, 3])
    optimiser = torch.optim.AdamW([p for p in agent.parameters() if p.requires_grad], lr=1e-2)
    before = [p.clone() for p in agent.parameters()]
    loss, _ = first_loss(agent, batch)
    loss.backward()
    optimiser.step()
    agent.after_update()
    after = list(agent.parameters())
    assert all(bool(p.isfinite().all()) for p in after)
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > 4


@pytest.mark.parametrize("name", AGENTS)
def test_actions_of_other_kinds_are_refused(name):
    if name not in BOXED:
        line = f"agent '{name}' needs discrete actions, .* agents that take such boxes are sac, a2c"
        with pytest.raises(ConfigError, match=line):
            make(name, actions=BOX)
    if name not in DISCRETE:
        line = f"agent '{name}' needs actions that are a box of .* agents that take discrete ones"
        with pytest.raises(ConfigError, match=line):
            make(name, actions=ACTIONS)
    for space in (
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.MultiBinary((2, 3)),
        gym.spaces.Box(0, 9, (1,), np.int64),
    ):
        with pytest.raises(ConfigError, match=f"agent '{name}' needs .*; wrap the env.* they are$"):
            make(name, actions=space)


def test_sac_needs_bounds():
    for high in (np.inf, np.finfo(np.float64).max):
        with pytest.raises(ConfigError, match="must have two bounds everywhere; wrap"):
            make("sac", actions=gym.spaces.Box(-1, high, (2,), np.float64))


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (OnlineAgentConfig, {"discount": 1.5}, "discount"),
        (OnlineAgentConfig, {"hidden": (8, 0)}, "hidden"),
        (DQNConfig, {"target_rate": 0.0}, "target_rate"),
        (SACDiscreteConfig, {"temperature": 0.0}, "temperature"),
        (SACDiscreteConfig, {"target_entropy": 2.0}, "target_entropy"),
        (SACDiscreteConfig, {"target_rate": 1.5}, "target_rate"),
        (SACConfig, {"target_entropy": 0.7}, "must be below log 2 = 0.69"),
        (SACConfig, {"temperature": -1.0}, "temperature"),
        (A2CConfig, {"num_steps": 0}, "num_steps"),
        (A2CConfig, {"gae_lambda": -0.1}, "gae_lambda"),
        (A2CConfig, {"value_weight": -1.0}, "value_weight"),
        (A2CConfig, {"num_steps": 5}, "needs whole episodes"),
        (PPOConfig, {"clip": 0.0}, "clip"),
        (PPOConfig, {"epochs": 0}, "epochs"),
        (PPOConfig, {"minibatches": 0}, "minibatches"),
        (PPOConfig, {"num_steps": 0}, "num_steps"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(config, options, message):
    with pytest.raises(ConfigError, match=message):
        config(**options)


@pytest.mark.parametrize("tokens", [{"action_width": 12}, {"reward_width": -1}, {"layers": 0}])
def test_tokens_must_have_room_for_the_observation(tokens):
    with pytest.raises(ConfigError, match=r"agent\.tokens"):
        make("dqn", tokens=StepTokenConfig(**tokens))
