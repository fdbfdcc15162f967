"""Settings for the functions under test. Nothing in them can reach a real cloud."""

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

REGION = "us-east-1"

# A developer's shell may name an AWS account or a stack. The tests must not use either.
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

# How long an example takes tells how busy the machine is, and coverage doubles it.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def empty_caches() -> None:
    """Clear everything that earlier tests left in this process's caches."""
    from usage_billing.platform import caches

    caches.clear_all()


class GroupedScheduling(LoadScopeScheduling):
    """Run all tests of a file in one process, and all tests that need the deployed stack in one process."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "e2e" if "/e2e/" in path else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupedScheduling:
    return GroupedScheduling(config, log)
