"""The settings are the environment variables that the template sets."""

import re

import pytest

from tests.template import ROOT, variables
from usage_billing.platform import caches
from usage_billing.platform.config import Settings, settings


def test_the_settings_are_the_environment_variables_of_the_template() -> None:
    names = {name for name in variables() if not name.startswith("POWERTOOLS_")}
    assert names == {str(field.alias) for field in Settings.model_fields.values()}
    assert names == {name.upper() for name in Settings.model_fields}


def test_only_the_config_module_reads_the_environment() -> None:
    for path in [*(ROOT / "layers/usage_billing/usage_billing").rglob("*.py"), *(ROOT / "functions").glob("*.py")]:
        assert not re.search(r"environ\b|getenv", path.read_text()) or path.name == "config.py"


def test_an_error_names_missing_and_invalid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.setenv(name, "RS256")
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    assert settings().jwt_issuer == "RS256"
    caches.clear_all()
    monkeypatch.delenv("USAGE_TABLE")
    monkeypatch.setenv("JWT_ALGORITHM", "none")
    with pytest.raises(RuntimeError, match=r"^missing or invalid environment variables: USAGE_TABLE, JWT_ALGORITHM$"):
        settings()
