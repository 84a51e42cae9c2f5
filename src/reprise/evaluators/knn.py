"""k nearest neighbours by cosine similarity of frozen features, one vote each."""

from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from reprise.evaluators._base import Context, Result, top1
from reprise.settings.evaluators import Knn


def evaluate(context: Context, settings: Knn, name: str) -> Result:
    """Vote among the nearest labelled training images; score on the test split."""
    features, labels = context.features(settings.data, "train", settings.labels)
    # On unit vectors the Euclidean order is the cosine order, and scikit-learn's is faster.
    voter = KNeighborsClassifier(settings.neighbours, algorithm="brute")
    voter.fit(normalize(features), labels)
    tested, truth = context.features(settings.data, "test")
    return Result(
        context.data(settings.data, "test"),
        [top1(voter.predict(normalize(tested)), truth)],
        info={"train_labels": len(labels)},
    )
