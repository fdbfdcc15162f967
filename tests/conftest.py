"""What all tests share: settings for the functions, and nothing that could reach a real cloud."""

import os

import pytest

REGION = "us-east-1"

for name in [name for name in os.environ if name.startswith(("AWS_", "POWERTOOLS_"))]:
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
    from aws_lambda_powertools.utilities import parameters

    from usage_billing import access, catalog, config, contention, queueing, tables

    for provider in parameters.base.DEFAULT_PROVIDERS.values():
        provider.store.clear()  # and not the provider: its client takes longer to make than most tests
    config.settings.cache_clear()
    tables.disconnect()
    catalog.forget_subscriptions()
    access._key_set.cache_clear()
    access._secrets.cache_clear()
    contention.forget()
    queueing._queue.cache_clear()
