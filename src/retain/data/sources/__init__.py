"""Readers of other dataset formats, one file per format."""
