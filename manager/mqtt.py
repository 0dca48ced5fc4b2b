"""paho-mqtt on the asyncio loop, acknowledging only what its caller says is kept.

The socket is driven from the loop itself and not from paho's thread: a lease goes out in the turn
of the loop in which its reading is looked at, with no other thread to wait for.

What came waits in a queue of ours, never longer than what the broker sends unacknowledged. For paho
reads as many packets at a time as it has messages under way, and sends nothing meanwhile: looked at
inside of that, a few seconds' worth of messages at once held up every lease and every tick, so that
more were under way, so that it read for longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

KEEPALIVE_S = 10
TURN_S = (
    0.02  # of looking at what came, before ticks, acknowledgements and the page have their turn
)
UNDER_WAY = 2000  # leases to all chargers of a large site, twice; more are thrown away
OF_BROKER = "$SYS/"  # topics on which a broker speaks of itself
IN_VAIN = 2  # connections in a row that ended at that subscription: then it is left
_RETRY_S = (
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
)  # a broker on the same Pi is back within a second or two


class Known(NamedTuple):
    """What a broker has received, as far as is known here: what it passed on to us, and what we sent.

    `messages` without those that it is to retain, which mosquitto does not count; `octets` of all.
    """

    messages: int = 0
    octets: int = 0

    def and_of(self, other: Known) -> Known:
        """Both together."""
        return Known(self.messages + other.messages, self.octets + other.octets)


NOTHING = Known()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it came. `connection` and `mid` are for `Link.acknowledge`, `known` is the
    link's as it was then.
    """

    topic: str
    data: bytes
    retained: bool
    again: bool  # the broker may have delivered it before
    qos: int
    mid: int
    connection: int
    known: Known = NOTHING


class Link:
    """The manager's connection, under a fixed client id: the broker keeps what it missed.

    `on_message` runs on the loop for every message in the order in which they came, `on_change` at
    every connect (True) and loss (False).
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        topics: Sequence[str],
        state_topic: str,
        on_message: Callable[[Arrival], None],
        on_change: Callable[[bool], None],
        username: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.connected = False
        self.connection = 0  # how many times it has connected
        self._topics = [(t, 1) for t in topics if not t.startswith(OF_BROKER)]
        # What a broker says of itself is no part of MQTT, and some end the connection if they are asked.
        self._of_broker = [(t, 1) for t in topics if t.startswith(OF_BROKER)]
        self._asking = 0  # mid of that subscription; 0 when it is not under way
        self._asked_in_vain = 0
        self._state_topic = state_topic
        self._on_message = on_message
        self._on_change = on_change
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost = asyncio.Event()
        self._leaving = False
        self._came: deque[Arrival] = deque()
        self._under_way: dict[int, Known] = {}  # sent, and not acknowledged by the broker
        self.known = NOTHING
        c = self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        if username:
            c.username_pw_set(username, password)
        if tls is not None:
            c.tls_set_context(tls)
        # A lease to one charger of a large site must not wait for another's acknowledgement.
        c.max_inflight_messages_set(UNDER_WAY)
        c.connect_timeout = 2.0  # nothing waits for it, but ending does
        c.will_set(state_topic, b"offline", 1, retain=True)
        c.on_connect = self._connected
        c.on_disconnect = self._disconnected
        c.on_message = self._arrived
        c.on_publish = self._published
        c.on_subscribe = self._subscribed
        c.on_socket_open = self._opened
        c.on_socket_close = self._closed
        c.on_socket_register_write = self._want_write
        c.on_socket_unregister_write = self._no_write

    async def run(self) -> None:
        """Connect, and come back after every loss; until cancelled, then say goodbye."""
        self._loop = asyncio.get_running_loop()
        failed = 0
        try:
            while True:
                self._lost.clear()
                try:
                    # It looks up names and waits for TCP: off the loop.
                    await asyncio.to_thread(
                        self._client.connect, self.host, self.port, KEEPALIVE_S
                    )
                    while not self._lost.is_set():
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._lost.wait(), 1)
                        self._client.loop_misc()
                        failed = 0 if self.connected else failed
                except OSError as e:
                    if not failed:
                        log.warning("no MQTT broker at %s:%d (%s)", self.host, self.port, e)
                await asyncio.sleep(_RETRY_S[min(failed, len(_RETRY_S) - 1)])
                failed += 1
        finally:
            self._leaving = True
            if self.connected:
                # A clean goodbye cancels the last will, so the state is said here.
                self.publish(self._state_topic, b"offline", retain=True)
                for _ in range(20):
                    if not self._client.want_write():
                        break
                    self._client.loop_write()
            self._client.disconnect()
            self._client.loop_write()

    def publish(self, topic: str, data: bytes, *, retain: bool = False) -> bool:
        """Send at QoS 1. False with no broker: nothing is kept, a lease is worth nothing later. Nor
        is it if the broker is far behind; only what it is to retain is sent then.
        """
        if not self.connected or (len(self._under_way) >= UNDER_WAY and not retain):
            return False
        mid = self._client.publish(topic, data, 1, retain).mid
        self._under_way[mid] = Known(not retain, len(data))
        return True

    def acknowledge(self, arrival: Arrival) -> None:
        """Let the broker forget this message. One of an earlier connection comes again anyway."""
        if arrival.qos and self.connected and arrival.connection == self.connection:
            self._client.ack(arrival.mid, arrival.qos)

    # paho's side. connect() runs in a worker thread, so these may too.

    def _on_loop(self, call: Callable[..., Any], *args: Any) -> None:
        assert self._loop is not None
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            call(*args)
        else:
            self._loop.call_soon_threadsafe(call, *args)

    def _opened(self, client: Client, _: Any, sock: Any) -> None:
        # Or an answer that follows an acknowledgement waits 40 ms: Nagle against the delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self._loop is not None
        self._on_loop(self._loop.add_reader, sock, client.loop_read)

    def _closed(self, _client: Client, _: Any, sock: Any) -> None:
        assert self._loop is not None
        if sock.fileno() >= 0:
            self._on_loop(self._loop.remove_reader, sock.fileno())
            self._on_loop(self._loop.remove_writer, sock.fileno())
        self._on_loop(self._lose)

    def _want_write(self, client: Client, _: Any, sock: Any) -> None:
        assert self._loop is not None
        self._on_loop(self._loop.add_writer, sock, client.loop_write)

    def _no_write(self, _client: Client, _: Any, sock: Any) -> None:
        assert self._loop is not None
        self._on_loop(self._loop.remove_writer, sock)

    def _connected(self, client: Client, _: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            log.error("the MQTT broker at %s:%d refuses us: %s", self.host, self.port, reason)
            return
        self.connection += 1
        self.connected = True
        log.info("connected to the MQTT broker at %s:%d", self.host, self.port)
        self._asking = 0
        client.subscribe(self._topics)
        self.publish(self._state_topic, b"online", retain=True)
        self._on_change(True)

    def _disconnected(self, *_: Any) -> None:
        self._on_loop(self._lose)

    def _lose(self) -> None:
        if self.connected and not self._leaving:
            self.connected = False
            log.warning("lost the MQTT broker at %s:%d, trying again", self.host, self.port)
            self._asked_in_vain += self._asking > 0
            self._on_change(False)
        self._lost.set()

    def _subscribed(self, client: Client, _: Any, mid: int, *_more: Any) -> None:
        if mid == self._asking:
            self._asking = self._asked_in_vain = 0
        elif self._of_broker and not self._asking:
            if self._asked_in_vain == IN_VAIN:
                log.warning("this MQTT broker does not say what it turns away: it is not counted")
                self._of_broker = []
                return
            self._asking = client.subscribe(self._of_broker)[1] or 0

    def _published(self, _client: Client, _: Any, mid: int, *_more: Any) -> None:
        self.known = self.known.and_of(self._under_way.pop(mid, NOTHING))

    def _arrived(self, _client: Client, _: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except (
            UnicodeDecodeError
        ):  # a topic is UTF-8 by MQTT's rules, but the check is the broker's
            topic = ""
        # What it kept, or delivers once more, it has not received just now; nor what it says itself.
        old = message.retain or message.dup
        if not (old or topic.startswith(OF_BROKER)):
            # All devices' states are to be kept. One may be a last will's, which was never received.
            kept = topic.endswith("/state")
            self.known = self.known.and_of(Known(not kept, len(message.payload)))
        arrival = Arrival(
            topic,
            bytes(message.payload),
            message.retain,
            message.dup,
            message.qos,
            message.mid,
            self.connection,
            self.known,
        )
        self._came.append(arrival)
        if len(self._came) == 1 and self._loop is not None:
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """At what came, for a moment; at the rest in the loop's next turn."""
        assert self._loop is not None
        ends = self._loop.time() + TURN_S
        while self._came:
            arrival = self._came[0]
            try:
                self._on_message(arrival)
            except Exception:
                # A message we have a defect for must not take the others' leases with it; and it
                # would come again at every connection if it were not acknowledged.
                log.exception("message on %s not handled", arrival.topic)
                self.acknowledge(arrival)
            self._came.popleft()
            if self._loop.time() >= ends and self._came:
                self._loop.call_soon(self._look)
                return
