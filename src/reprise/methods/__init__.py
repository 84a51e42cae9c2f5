"""Methods that belong to no single paper: baselines and plain supervised training."""
