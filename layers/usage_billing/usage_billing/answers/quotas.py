"""What a plan's quotas are answered as."""

from usage_billing.answers import Page
from usage_billing.pricing import Quota


class Quotas(Page):
    quotas: list[Quota]
