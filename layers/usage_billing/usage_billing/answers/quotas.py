"""What a plan's quotas are answered as."""

from usage_billing.pricing import Quota
from usage_billing.web.shapes import Page


class Quotas(Page):
    quotas: list[Quota]
