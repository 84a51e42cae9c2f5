"""Settings of methods and evaluators, free of torch so that parameters are checked in a moment."""
