"""What this product calls itself. Pure."""

NAME = "Usage-based billing"
VERSION = "1.0.0"
"""The API's, and the project's in pyproject.toml: a test compares the two."""
