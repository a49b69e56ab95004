"""All tests; `handlers/` and `pipeline/` mirror the source, module by module."""
