"""Studies: designs over a grid of effects, and replays of real A/B tests."""
