"""The memory contract, held against every registered model."""
