"""The plain beam search, where the tests of decoding look for it."""

from reprise.captions.plain_search import plain_beam_search

__all__ = ["plain_beam_search"]
