"""Usage as FOCUS 1.2 charges, for export only: nothing inside is modelled on it.

Names and meanings are those of the FinOps Open Cost and Usage Specification, written in
its own case. Amounts are decimal texts in the billing currency, so that no digit is lost.
"""

from __future__ import annotations

import msgspec

FOCUS_VERSION = "1.2"


class Charge(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """What one partner used of one model on one day: its input tokens, or its output."""

    billed_cost: str
    billing_account_id: str
    """The pilot."""
    billing_account_name: str
    billing_account_type: str = "Pilot"
    billing_currency: str
    billing_period_end: str
    billing_period_start: str
    charge_category: str = "Usage"
    charge_class: str | None = None
    """Null: no charge is a correction, as prices never change the past."""
    charge_description: str
    charge_frequency: str = "Usage-Based"
    charge_period_end: str
    charge_period_start: str
    consumed_quantity: int
    consumed_unit: str = "Tokens"
    contracted_cost: str
    contracted_unit_price: str | None
    effective_cost: str
    invoice_issuer_name: str
    list_cost: str
    list_unit_price: str | None
    pricing_category: str = "Standard"
    pricing_currency: str
    pricing_quantity: str
    pricing_unit: str = "1000000 Tokens"
    provider_name: str
    publisher_name: str
    region_id: str | None = None
    resource_id: str
    resource_name: str
    resource_type: str = "Model"
    service_category: str = "AI and Machine Learning"
    service_name: str
    service_subcategory: str = "Generative AI"
    sku_id: str
    sku_meter: str
    sku_price_details: dict[str, str] | None
    """What every charge of one price shares; null where there is no price. Keys of a provider's
    own begin with `x_`."""
    sku_price_id: str | None
    sub_account_id: str
    """The partner."""
    sub_account_name: str
    sub_account_type: str = "Partner"
    tags: dict[str, str] = {}
