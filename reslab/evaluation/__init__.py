"""A trained model on images: predictions, metrics, the evaluation of a run."""
