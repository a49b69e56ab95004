"""Tests that are coroutines run as those of the pipeline do."""

from tests.pipeline.conftest import pytest_generate_tests, pytest_pyfunc_call

__all__ = ["pytest_generate_tests", "pytest_pyfunc_call"]
