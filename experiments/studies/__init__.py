"""Studies: what A/B designs and policies do, over and over, in worlds whose truth is known."""
