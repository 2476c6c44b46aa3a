"""What a device says of itself: three metrics at one instant make a status."""

BATTERY = "battery_level"  # gauge [%], 0 to 100
RSSI = "rssi"  # gauge [dBm]
ONLINE = "online"  # state: 1 or 0; a row of it is what is counted as a heartbeat
STATUS_METRICS = (BATTERY, RSSI, ONLINE)
STATUS_KINDS = {BATTERY: "gauge", RSSI: "gauge", ONLINE: "state"}
