"""Property-based tests draw the same examples in every run, however slow the machine."""

from hypothesis import settings

settings.register_profile("reproducible", derandomize=True, deadline=None, database=None)
settings.load_profile("reproducible")
