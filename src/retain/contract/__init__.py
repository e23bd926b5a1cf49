"""The memory contract, put to the test: for models of this package and of others."""

from retain.contract.check import TOKENS_PER_STEP, broken_laws, check_model
from retain.contract.laws import LAWS
from retain.contract.trials import Subject

__all__ = ["LAWS", "TOKENS_PER_STEP", "Subject", "broken_laws", "check_model"]
