"""The meter's own rows of the settings table (see firmware/common/config.py)."""

ROWS = (
    "role:e:0:house|grid|solar|feeder:grid",  # what it measures, see shared/protocol.py
    "phases:i:1:3:1",  # one PZEM each, addresses 1, 2, 3; a single one is asked at any address
    "uart_swap:i:0:1:0",  # 1: PZEM on GPIO15 and GPIO13 instead of 1 and 3
    "poll_ms:i:20:60000:100",  # least time between two questions to one PZEM
    "threshold_ma:i:10:100000:200",  # a change of this much is published at once
    "busy_s:i:1:60:1",  # published at least this often while cars may be charging
    "emon_address:t:0:96:",  # emoncms server, http only; empty: none
    "emon_key:s:0:64:",  # its write key
    "emon_node:d:1:24:energymeter",
    "emon_s:i:5:3600:10",  # one post in so many seconds
    "calm_s:i:1:600:5",  # and this often after the manager said none is
)
FIRMWARE = "0.1.0"
