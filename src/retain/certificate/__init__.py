"""Certificates of retention: can any input of the kind seen change what a memory holds?

A memory whose values are rounded takes finitely many of them. Then a segment is a step from one of
finitely many memories to another, and the question is one about a graph: from what an episode
begins with, which memories can ever be reached, and does each give the right answer? If all inputs
can be listed, the answer is a proof for episodes of every length; if not, it is a sample.
"""

from __future__ import annotations

from retain.certificate.record import Certificate
from retain.certificate.runs import certify_run
from retain.certificate.search import certify
from retain.certificate.subject import subject_of

__all__ = ["Certificate", "certify", "certify_run", "subject_of"]
