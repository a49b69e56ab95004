"""What is said of an alert, on `$alerts`, at `GET /v1/alerts` and to webhooks."""

from msgspec import Struct


class Alert(Struct, omit_defaults=True, kw_only=True):
    """A rule of a model that has held for `count` predictions of a key in a row.

    `ts` is in unix seconds. `value` is the number that was compared, or the score of `label`, which is the predicted
    one; `event_id` is that of the last event.
    """

    id: int | None = None
    ts: float
    rule: str
    model: str
    version: str
    key: str
    topic: str
    label: str | None = None
    output: str
    value: int | float | None = None
    above: float | None = None
    below: float | None = None
    count: int
    event_id: int | str | None = None


class Alerts(Struct):
    """The latest alerts, newest first."""

    alerts: list[Alert]


class WebhookBody(Struct, tag_field="type", tag="alert"):
    """What a webhook is sent; `timestamp` is the alert's, as ISO 8601 has it."""

    timestamp: str
    data: Alert
