"""The product's name and version. Pure."""

NAME = "Usage-based billing"
VERSION = "1.0.0"
"""The version of the API and of the project; a test compares it with pyproject.toml."""
