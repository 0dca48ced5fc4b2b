"""The attendant: cards, and the sessions they pay for. Part of the network lane; `say(message)`
publishes (0: it did not)."""

from firmware.charger.access import Access
from firmware.charger.card_list import CardList
from firmware.charger.exchange import Report
from firmware.charger.sessions import Sessions
from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

SAVE_MS = 300_000  # how often a running session's length is written down; its energy the meter keeps itself
REPEAT_MS = 10_000  # an ended session is told again until it is acknowledged


class Attendant:
    """`access.allowed` is what the safety lane is told."""

    def __init__(self, config: "Any", say: "Any") -> None:
        self._say = say
        self._measures = bool(config["own_meter"])
        self.access = Access(config["access"] == "free")
        self.cards = CardList(list_key(config))
        self.sessions = Sessions()
        self._sun: "tuple[bytes, ...]" = ()
        if config["picc_key"] and config["sun_key"]:
            self._sun = (bytes.fromhex(config["picc_key"]), bytes.fromhex(config["sun_key"]))
        self._counters: "Any" = None
        self._saved_at = 0
        self._told_at = -REPEAT_MS
        self._told = 0
        self._ended_at: "dict[int, int]" = {}
        self._stop_why = ""
        self._seen_wh = -1  # what the meter said last, answering or not
        self._plugs = 0

    def rekey(self, config: "Any") -> None:
        """The key of the list has changed; the list made with it follows."""
        self.cards.key = list_key(config)

    def session_wh(self, r: Report) -> int:
        """Energy of the running session, Wh."""
        return self.sessions.measured(_meter_wh(r)) if r.load else 0

    def step(self, r: Report, known: bool, online: bool, now: int) -> None:
        """One round. `known`: the safety lane has found out whether a car is plugged in; `online`:
        the manager listens."""
        access = self.access
        if access.overdue(now):
            card = access.asking
            access.verdict(card, self.cards.knows(card), "list", 0, now)
        if not known:
            return
        sessions = self.sessions
        if r.load:
            self._seen_wh = _meter_wh(r)
            if sessions.running is None and sessions.at_wh < 0:
                sessions.rests(self._seen_wh)
        if sessions.after_cut:
            self._after_cut(r, now)
            if sessions.after_cut:
                return
        if r.plugs != self._plugs:
            # Another car, or the same once more: whatever of the unplugging was seen here, it was.
            self._plugs = r.plugs
            access.step(False, now)
            if sessions.running is not None:
                self._over("unplugged", now)
                sessions.end(self._seen_wh)
        access.step(r.plugged, now)
        running = sessions.running
        if running is None:
            if r.plugged and access.allowed and (r.load or not self._measures):
                wh = _meter_wh(r)
                if access.how == "free":
                    wh = sessions.begins_at(wh)
                sessions.begin(access.how, access.card, wh)
                self._saved_at = now
        elif running.get("why"):
            # What the car took until the contactor opened, the meter has only now.
            if r.settled or r.meter_lost or not self._measures:
                sessions.end(self._seen_wh)
        elif not r.plugged or not access.allowed:
            self._over("unplugged" if not r.plugged else self._stop_why or "card", now)
        elif now - self._saved_at >= SAVE_MS and r.load:
            sessions.save(_meter_wh(r), (now - self._saved_at) // 1000)
            self._saved_at = now
        self._stop_why = ""
        if online:
            self._tell(now)

    def _after_cut(self, r: Report, now: int) -> None:
        """A restart came in the middle of a session: it goes on if the car is still there, else it
        ended with the power. One that was over by then does not begin anew."""
        sessions = self.sessions
        running = sessions.running
        if running is None or (self._measures and not r.load and not r.meter_lost):
            return
        sessions.after_cut = False
        self._saved_at = now
        self._plugs = r.plugs
        if running.get("why"):
            pass
        elif r.plugged:
            self.access.allow(running["card"], running["how"], 0, now)
        else:
            self._over("power_cut", now)

    def _over(self, why: str, now: int) -> None:
        running = self.sessions.running
        if running is not None and not running.get("why"):
            self.sessions.over((now - self._saved_at) // 1000, why)
            self._ended_at[running["n"]] = now
            self._told_at = now - REPEAT_MS

    def plug(self, r: Report) -> int:
        """The number of the plugging-in that what is allowed now is for; -1: whichever, nobody has to ask."""
        if self.access.how == "free":
            return -1
        return r.plugs if r.plugged else r.plugs + 1

    # -- to the manager

    def _tell(self, now: int) -> None:
        sessions = self.sessions
        running = sessions.running
        if sessions.waiting and (
            now - self._told_at >= REPEAT_MS or sessions.waiting[0] != self._told
        ):
            self._told_at = now
            self._told = sessions.waiting[0]
            self._tell_ended(self._told, now)
        elif running is not None and not running["told"] and now - self._told_at >= 1000:
            self._told_at = now
            if self._begun(running, running["s"] + (now - self._saved_at) // 1000):
                sessions.told()

    def _begun(self, s: "dict[str, Any]", age_s: int) -> bool:
        message = {
            "code": protocol.SESSION_BEGIN,
            "session": s["n"],
            "how": s["how"],
            "energy_wh": s["from_wh"],
            "age_s": age_s,
        }
        if s["card"]:
            message["card"] = s["card"]
        return bool(self._say(message))

    def _tell_ended(self, number: int, now: int) -> None:
        s = self.sessions.read(number)
        if s is None:
            return
        age_s = (
            now - self._ended_at.get(number, 0)
        ) // 1000  # after a restart: since the start at least
        if not s["told"] and not self._begun(s, age_s + s["s"]):
            return
        message = {
            "code": protocol.SESSION_END,
            "session": number,
            "energy_wh": s["wh"],
            "duration_s": s["s"],
            "age_s": age_s,
            "why": s["why"],
        }
        if s["card"]:
            message["card"] = s["card"]
        self._say(message)

    # -- from reader and manager

    def tapped(self, card: str, text: bytes, now: int) -> None:
        """A card is at the reader; `text` is what one that cannot be copied says beside its number."""
        more: "dict[str, str]" = {}
        true = True
        if self._sun or text:
            from firmware.charger import ntag424

            signed = ntag424.found(text)
            true = signed is not None or not self._sun
            if signed is not None:
                more = {"picc": signed[0], "cmac": signed[1]}
                if self._sun:
                    card, true = self._verified(card, signed[0], signed[1])
        if not self.access.tap(card, now):
            return
        if not true:
            self.access.verdict(card, False, "card", 0, now)
            return
        message: "dict[str, Any]" = {"code": protocol.CARD_READ, "card": card}
        message.update(more)
        self._say(message)

    def _verified(self, card: str, picc: str, mac: str) -> "tuple[str, bool]":
        """(the number the card has signed, whether it is true and new)."""
        from firmware.charger import ntag424

        try:
            card, counter = ntag424.opened(
                self._sun[0], self._sun[1], bytes.fromhex(picc), bytes.fromhex(mac)
            )
            self._counters = self._counters or ntag424.Counters()
            self._counters.use(card, counter)
        except (ntag424.SunError, OSError):
            return card, False
        return card, True

    def heard(self, message: "dict[str, Any]", now: int) -> bool:
        """A message of the manager; True if it was for the attendant."""
        code = message["code"]
        if code == protocol.CARD_VERDICT:
            accepted = message["verdict"] == "accepted"
            self.access.verdict(message["card"], accepted, "card", message.get("max_a", 0), now)
        elif code == protocol.SESSION_ACK:
            self.sessions.acknowledged(message["session"])
            self._ended_at.pop(message["session"], None)
        elif code == protocol.CARD_LIST:
            self.cards.heard(message)
        else:
            return False
        return True

    def start(self, now: int) -> None:
        """The manager lets the car charge."""
        self.access.allow("", "manager", 0, now)

    def stop(self) -> None:
        """The manager ends it."""
        self._stop_why = "manager"
        self.access.stop()


def list_key(config: "Any") -> bytes:
    """What turns a card's number into its hash on the list."""
    return bytes.fromhex(config["list_key"] or config["key"])


def _meter_wh(r: Report) -> int:
    total = 0
    for k in range(3, len(r.load), 5):
        total += r.load[k]
    return total
