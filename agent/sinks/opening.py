"""Makes the sink that the configuration names; imports only what that kind needs."""

from agent.sinks.options import ActionOptions, CommandOptions, LogOptions, WebhookOptions
from agent.sinks.sink import Sink


def open_sink(options: ActionOptions) -> Sink:
    """Return the sink; it touches nothing before the first event."""
    if isinstance(options, LogOptions):
        from agent.sinks.log_file import LogSink  # noqa: PLC0415

        return LogSink(options)
    if isinstance(options, CommandOptions):
        from agent.sinks.command import CommandSink  # noqa: PLC0415

        return CommandSink(options)
    if isinstance(options, WebhookOptions):
        from agent.sinks.webhook import WebhookSink  # noqa: PLC0415

        return WebhookSink(options)
    from agent.sinks.local_mqtt import MqttSink  # noqa: PLC0415

    return MqttSink(options)
