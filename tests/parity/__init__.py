"""Outputs held against independent implementations, and acting against training."""
