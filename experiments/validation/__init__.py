"""Holds a fitted reward model against a log that it has never seen: what it is good for, and what cannot be known."""
