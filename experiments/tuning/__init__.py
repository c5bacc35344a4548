"""Hyperparameter search over an experiment: of its policies, or of its reward model."""
