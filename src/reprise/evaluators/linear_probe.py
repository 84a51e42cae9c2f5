"""Linear probe: logistic regression on frozen, standardised features.

The regularisation is chosen for each run on a fifth of its training labels, since features of
different scale and width want different ones; then the probe is fitted on all of them.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from reprise.evaluators._base import Context, Result, top1
from reprise.settings.evaluators import LinearProbe

HELD_OUT = 0.2


def evaluate(context: Context, settings: LinearProbe, name: str) -> Result:
    """Fit on a class-balanced part of the training split, score on the test split."""
    features, labels = context.features(settings.data, "train", settings.labels)
    strength = choose(features, labels, settings, context.key.fold("probe").seed)
    probe = fit(features, labels, settings, strength)
    tested, truth = context.features(settings.data, "test")
    info = {"train_labels": len(labels), "inverse_regularisation": strength}
    info["iterations"] = int(probe[-1].n_iter_.max())
    return Result(
        context.data(settings.data, "test"), [top1(probe.predict(tested), truth)], info=info
    )


def choose(
    features: NDArray[np.float32], labels: NDArray[np.int64], settings: LinearProbe, seed: int
) -> float:
    """Return the candidate that does best on held-out training labels; the smallest on a tie."""
    candidates = sorted(settings.inverse_regularisation)
    if len(candidates) == 1:
        return candidates[0]
    fitted, held, fitted_labels, held_labels = train_test_split(
        features, labels, test_size=HELD_OUT, stratify=labels, random_state=seed % 2**32
    )
    scores = [
        fit(fitted, fitted_labels, settings, strength).score(held, held_labels)
        for strength in candidates
    ]
    return candidates[int(np.argmax(scores))]


def fit(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    settings: LinearProbe,
    strength: float,
) -> Pipeline:
    """Fit the probe; an unfinished optimisation shows in the record's number of iterations."""
    solver = LogisticRegression(C=strength, tol=settings.tolerance, max_iter=settings.max_iter)
    probe = make_pipeline(StandardScaler(), solver)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features, labels)
    return probe
