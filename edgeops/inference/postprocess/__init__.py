"""From a model's outputs to a result, one module per task."""
