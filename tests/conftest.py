"""What all tests share: how hard Hypothesis tries. `--hypothesis-profile=thorough` tries harder."""

from hypothesis import settings

settings.register_profile("modest", max_examples=100, deadline=None)
settings.register_profile("thorough", max_examples=5000, deadline=None)
settings.load_profile("modest")
