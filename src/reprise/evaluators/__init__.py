"""Evaluators: one file each; each yields metrics and the statistics behind them."""
