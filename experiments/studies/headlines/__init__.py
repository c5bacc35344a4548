"""The study `headlines`: what a language model's predictions add to a bandit on real headline tests."""
