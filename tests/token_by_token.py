"""Models made by hand for tests, which read one token after the other."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from retain.memory import SequenceModel

# Axes: B rows, L tokens, D width.


class TokenByToken(SequenceModel):
    """A model of unbounded reach whose subclass says what one token does."""

    @property
    def reach(self) -> int | None:
        return None

    @abstractmethod
    def _token(self, x_BD: Tensor, state: Any) -> tuple[Tensor, Any]: ...

    def forward(
        self,
        x_BLD: Tensor,
        state: Any,
        reset_BL: Tensor | None = None,
        *,
        read_L: Any = None,
        donate: bool = False,
    ) -> tuple[Tensor, Any]:
        outputs = []
        for token in range(x_BLD.shape[1]):
            if reset_BL is not None:
                state = self.initial_state(len(x_BLD)).where(reset_BL[:, token], state)
            y_BD, state = self._token(x_BLD[:, token], state)
            outputs.append(y_BD)
        return torch.stack(outputs, dim=1), state
