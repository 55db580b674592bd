"""Experiment trackers: what a run logs, sent to TensorBoard, MLflow, W&B and Trackio."""
