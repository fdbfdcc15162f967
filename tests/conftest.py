"""What all tests share: settings for the functions, and nothing that could reach a real cloud."""

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

REGION = "us-east-1"

# Neither an account nor a stack that somebody's shell names.
NAMES = {"STACK", "API_URL", "API_KEY", "TEST_AUTH_TOKEN"}
for name in [name for name in os.environ if name.startswith(("AWS_", "POWERTOOLS_")) or name in NAMES]:
    del os.environ[name]

os.environ |= {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "POWERTOOLS_SERVICE_NAME": "usage-billing-test",
    "POWERTOOLS_METRICS_NAMESPACE": "UsageBilling",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """No test sees what another one made this process remember."""
    from usage_billing.platform import memory

    memory.forget()


class Together(LoadScopeScheduling):
    """Shares the tests among processes: those of a file stay together, and those that need the deployed stack do."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "e2e" if "/e2e/" in path else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)
