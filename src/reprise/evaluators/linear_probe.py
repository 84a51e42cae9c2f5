"""Linear probe: logistic regression on frozen, standardised features.

The regularisation is chosen for each run on a fifth of its training labels, since features of
different scale and width want different ones; then the probe is fitted on all of them.

scikit-learn computes where the features are: on a processor in one thread, on a GPU in torch.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from reprise.config import Json
from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Result, all_labels, correctness
from reprise.settings.evaluators import LinearProbe, Probe

HELD_OUT = 0.2
CPU = torch.device("cpu")

Features = NDArray[np.float32] | Tensor


@dataclass(frozen=True)
class Fitted:
    """A probe with the inverse regularisation that was chosen for it."""

    probe: Pipeline
    strength: float
    train_labels: int
    device: torch.device = CPU

    @property
    def iterations(self) -> int:
        return int(self.probe[-1].n_iter_.max())

    def correct(
        self, features: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return whether each of features [n, D] is classified as its label: bool [n]."""
        placed = place(features, self.device)
        with computing(placed):
            predicted = torch.as_tensor(self.probe.predict(placed)).cpu().numpy()
        right: NDArray[np.bool_] = predicted == labels
        return right


def place(features: NDArray[np.float32], device: torch.device) -> Features:
    """Return features where a probe is computed: an array, or a tensor on a GPU."""
    return features if device.type == "cpu" else torch.from_numpy(features).to(device)


@contextlib.contextmanager
def computing(features: Features) -> Iterator[None]:
    """Let scikit-learn compute in the library that the features are of, on their device."""
    if not isinstance(features, Tensor):
        yield
        return
    os.environ["SCIPY_ARRAY_API"] = "1"  # without which scikit-learn refuses
    with sklearn.config_context(array_api_dispatch=True):
        yield


def evaluate(context: Context, settings: LinearProbe, name: str) -> Result:
    """Fit on a class-balanced part of the training split, score on the test split."""
    probes = fitted(context, settings, settings.draws)
    tested, truth = context.features(settings.data, "test")
    correct = np.stack([probe.correct(tested, truth) for probe in probes], axis=1)
    top1 = correctness("top1", correct[:, 0] if settings.draws == 1 else correct)
    return Result(context.data(settings.data, "test"), [top1], info=about(probes))


def about(probes: list[Fitted]) -> Json:
    """Return what a record says of its probes; lists where there are several."""
    strengths, iterations = [p.strength for p in probes], [p.iterations for p in probes]
    single = len(probes) == 1
    return {
        "train_labels": probes[0].train_labels,
        "inverse_regularisation": strengths[0] if single else strengths,
        "iterations": iterations[0] if single else iterations,
    }


def fitted(context: Context, settings: Probe, draws: int = 1) -> list[Fitted]:
    """Return a probe for each draw of the labels; equal settings of a run give the same ones."""
    data = context.data(settings.data, "train")
    chosen = [context.few(data, settings.labels, draw) for draw in range(draws)]
    # One pass for all draws, as each batch by itself would be small.
    context.features_at(settings.data, "train", torch.cat(chosen))
    key = tuple(getattr(settings, field) for field in Probe.model_fields)

    device = context.world.device

    def make(draw: int) -> Fitted:
        features = place(context.features_at(settings.data, "train", chosen[draw]), device)
        labels = all_labels(data)[chosen[draw]].numpy()
        root = context.key.fold("probe")
        seed = (root.fold("draw", draw) if draw else root).seed
        with computing(features):
            strength = choose(features, labels, settings, seed)
            probe = fit(features, labels, settings, strength)
        return Fitted(probe, strength, len(labels), device)

    return [context.once(("probe", *key, draw), partial(make, draw)) for draw in range(draws)]


def choose(features: Features, labels: NDArray[np.int64], settings: Probe, seed: int) -> float:
    """Return the candidate that does best on held-out training labels; the smallest on a tie.

    A single candidate needs no choice. Raises ConfigError where there are too few labels to hold
    any out.
    """
    candidates = sorted(settings.inverse_regularisation)
    if len(candidates) == 1:
        return candidates[0]
    _check_held_out(labels, settings)
    fitted, held, fitted_labels, held_labels = train_test_split(
        features, labels, test_size=HELD_OUT, stratify=labels, random_state=seed % 2**32
    )
    scores = [
        fit(fitted, fitted_labels, settings, strength).score(held, held_labels)
        for strength in candidates
    ]
    return candidates[int(np.argmax(scores))]


def _check_held_out(labels: NDArray[np.int64], settings: Probe) -> None:
    """Raise ConfigError where a class would have no label on one side of the choice."""
    sizes = np.unique(labels, return_counts=True)[1]
    # The same number as scikit-learn's: it rounds the held-out part up.
    if sizes.min() < 2 or int(np.ceil(HELD_OUT * len(labels))) < len(sizes):
        raise ConfigError(
            f"labels = {settings.labels!r}: {sizes.min()} labels in the smallest of {len(sizes)} "
            f"classes, too few to hold a fifth out and choose among "
            f"{len(settings.inverse_regularisation)} values of inverse_regularisation; "
            "give one value, or more labels"
        )


def fit(
    features: Features,
    labels: NDArray[np.int64],
    settings: Probe,
    strength: float,
) -> Pipeline:
    """Fit the probe; an unfinished optimisation shows in the record's number of iterations."""
    solver = LogisticRegression(C=strength, tol=settings.tolerance, max_iter=settings.max_iter)
    probe = make_pipeline(StandardScaler(), solver)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features, labels)
    return probe
