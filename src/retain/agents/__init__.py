"""Agents, one file per learning rule, each over any registered model."""
