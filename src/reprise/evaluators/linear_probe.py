"""Linear probe: logistic regression on frozen, standardised features."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reprise.evaluators._base import Context, Result, top1
from reprise.settings.evaluators import LinearProbe


def evaluate(context: Context, settings: LinearProbe, name: str) -> Result:
    """Fit on a class-balanced part of the training split, score on the test split."""
    features, labels = context.features(settings.data, "train", settings.labels)
    probe = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=settings.inverse_regularisation, max_iter=settings.max_iter),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported in the record instead
        probe.fit(features, labels)
    tested, truth = context.features(settings.data, "test")
    iterations = int(probe[-1].n_iter_.max())
    return Result(
        context.data(settings.data, "test"),
        [top1(probe.predict(tested), truth)],
        info={
            "train_labels": len(labels),
            "iterations": iterations,
            "converged": iterations < settings.max_iter,
        },
    )
