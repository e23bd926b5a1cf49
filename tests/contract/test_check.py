"""`retain check` and `retain.contract.check_model`: the laws, for models of other packages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from retain.cli.main import main
from retain.contract import LAWS, broken_laws, check_model
from retain.core.errors import ConfigError, ModelError, UnknownNameError
from retain.models.gru import GRUConfig

FORGETFUL = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from retain import MODELS
from retain.memory import MemoryState, ModelConfig, SequenceModel, carry


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """Settings."""

    registered_name: ClassVar[str] = "no_resets"


@dataclass(frozen=True)
class State(MemoryState):
    hidden_BD: torch.Tensor = carry()


@MODELS.register("no_resets")
class NoResets(SequenceModel):
    """Goes on remembering where an episode begins."""

    Config = Config

    def __init__(self, config, *, tokens_per_step):
        super().__init__()
        self.cell = torch.nn.GRUCell(config.width, config.width)

    reach = None

    def initial_state(self, batch_size):
        return State(self.cell.weight_hh.new_zeros(batch_size, self.cell.hidden_size))

    def forward(self, x_BLD, state, reset_BL=None, *, read_L=None, donate=False):
        hidden, outputs = state.hidden_BD, []
        for x_BD in x_BLD.unbind(1):
            hidden = self.cell(x_BD, hidden)
            outputs.append(hidden)
        return torch.stack(outputs, 1), State(hidden)
'''


def test_a_model_that_keeps_to_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_rng_state()
    assert main(["check", "gru"]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    said = capsys.readouterr().out
    assert said.count("holds\n") == 2 * len(LAWS) + 1
    assert said.endswith("gru: every law holds\n")
    check_model(GRUConfig(width=6, context_length=2))


def test_a_model_that_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "no_resets.py"
    file.write_text(FORGETFUL)
    assert main(["--plugin", str(file), "check", "no_resets"]) == 1
    said = capsys.readouterr().out
    assert "  reset_is_fresh_start  BROKEN: after a reset at " in said
    assert "  causality             holds\n" in said
    assert "reset_is_fresh_start" in broken_laws("no_resets")
    with pytest.raises(ModelError, match=r"breaks . of 15 laws .* with 1 token a step: reset_is"):
        check_model("no_resets")


def test_a_law_may_fail_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: object, **__: object) -> None:
        raise IndexError("of the model's own")

    monkeypatch.setattr("retain.models.gru.GRU.forward", forward)
    assert broken_laws("gru")["causality"] == "IndexError: of the model's own"


def test_what_cannot_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "grew"]) == 2
    assert "unknown model 'grew'; did you mean gru" in capsys.readouterr().err
    with pytest.raises(UnknownNameError):
        check_model("grew")
    with pytest.raises(ConfigError, match=r"the model cannot be built: .*width"):
        check_model(GRUConfig(width=0))
