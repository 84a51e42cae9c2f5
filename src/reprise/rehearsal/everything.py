"""Imports what the verbs of a workflow need, for the process that forks for them."""

import importlib

import sklearn.linear_model
import sklearn.neighbors  # noqa: F401
from transformers import AutoTokenizer, GPT2LMHeadModel  # noqa: F401  (they load themselves late)

from reprise import (  # noqa: F401
    bench_forward,
    bench_step,
    claims,
    cli,
    registry,
    tables,
)
from reprise.evaluators import _runner  # noqa: F401
from reprise.rehearsal import miniatures, rows, verbs  # noqa: F401
from reprise.training import run  # noqa: F401

for kind in ("method", "evaluator", "data set"):
    for module in registry.known(kind).values():
        importlib.import_module(module)
