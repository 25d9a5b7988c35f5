"""What comes home over MQTT: read with distrust, stored once, acknowledged after the commit."""
