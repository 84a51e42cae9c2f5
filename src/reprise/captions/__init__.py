"""Captions: reading their files, and scoring them as the field does, so that scores resample.

`files` reads captions; `tokens` cuts them into words, once for all metrics; `scores` makes the
sufficient statistics of every image; `corpus` turns any resample of those into the corpus score,
which on the whole test set is pycocoevalcap's own. `meteor` and `spice` drive scorers that run in
Java; `java` finds it. `vocabulary` makes tokens for language models, `embeddings` keeps what a
frozen CLIP says of captions and images.
"""
