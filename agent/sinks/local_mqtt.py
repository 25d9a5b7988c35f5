"""Alerts as MQTT messages to a broker on the spot, such as the plant's own."""

import threading
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from agent.broker_address import BrokerAddress
from agent.sinks.options import MqttOptions
from agent.sinks.sink import SinkError
from edgeops import codec
from edgeops.contracts.alert import AlertEvent


class MqttSink:
    """Publishes with QoS 1 over a session that is made on first use and again after it broke."""

    def __init__(self, options: MqttOptions) -> None:
        self._options = options
        self._address = BrokerAddress.parse(
            options.address, ca=None if options.ca is None else Path(options.ca)
        )
        self._closing = threading.Event()
        self._client: paho.Client | None = None

    def deliver(self, event: AlertEvent) -> None:
        """Publish the event and wait for the broker's word; raises ``SinkError``."""
        if self._closing.is_set():
            raise SinkError("is stopping")
        # A session that stood may have died unseen: then a new one gets one chance.
        if self._client is not None:
            try:
                self._publish(self._client, event)
            except SinkError:
                self._disconnect()
            else:
                return
        self._client = self._connect()
        self._publish(self._client, event)

    def close(self) -> None:
        """End the session."""
        self._closing.set()
        self._disconnect()

    def _publish(self, client: paho.Client, event: AlertEvent) -> None:
        try:
            sent = client.publish(self._options.topic, codec.canonical(event), qos=1)
            sent.wait_for_publish(float(self._options.timeout))
            published = sent.is_published()
        except (ValueError, RuntimeError) as error:
            raise SinkError(f"cannot publish to {self._address}: {error}") from error
        if not published:
            raise SinkError(f"{self._address} did not confirm within {self._options.timeout:g} s")

    def _connect(self) -> paho.Client:
        options, address = self._options, self._address
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        connected = threading.Event()
        refused: list[str] = []

        def on_connect(
            _client: paho.Client,
            _data: object,
            _flags: object,
            reason: ReasonCode,
            _properties: object,
        ) -> None:
            if reason.is_failure:
                refused.append(str(reason))
            connected.set()

        client.on_connect = on_connect
        client.connect_timeout = float(options.timeout)
        try:
            client.username_pw_set(options.username, _password(options))
            context = address.context()
            if context is not None:
                client.tls_set_context(context)
            client.connect(address.host, address.port, keepalive=30)
        except OSError as error:
            raise SinkError(f"cannot reach {address}: {error}") from error
        client.loop_start()
        if not connected.wait(float(options.timeout)) or refused:
            client.loop_stop()
            raise SinkError(f"{address} did not let us in: {refused[0] if refused else 'silent'}")
        return client

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()


def _password(options: MqttOptions) -> str | None:
    if options.password_file is None:
        return None
    lines = Path(options.password_file).read_text(errors="replace").splitlines()
    return lines[0] if lines else ""
