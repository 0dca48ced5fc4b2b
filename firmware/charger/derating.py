"""Less current before it gets too hot: the ladder between 62 and 75 degrees, and what a broken sensor costs."""

STEP_MS = 30_000
WARM_C = 65  # from here 1 A less every 30 s
COOL_C = 62  # below here 1 A more every 30 s
NEAR_C = 70  # from here 6 A at once; 75 is the interlock's business
LEAP_C = 5  # more than this in a second is a broken sensor, not a warm one
LEAST_A = 6


class Derating:
    """`cap_a`: most that may be offered for the temperature's sake. `broken`: a sensor cannot be believed."""

    def __init__(self, max_a: int) -> None:
        self._max_a = max_a
        self.cap_a = max_a
        self.broken = False
        self._stepped = 0
        self._second = 0
        self._before: "list[int | None]" = []

    def step(self, temperatures_c: "list[int | None]", now_ms: int) -> None:
        """Judge the temperatures (None: sensor open or shorted); call as often as you like."""
        hottest = -273
        broken = False
        for c in temperatures_c:
            if c is None or not -30 <= c <= 100:
                broken = True
            elif c > hottest:
                hottest = c
        if now_ms - self._second >= 1000:
            if len(self._before) == len(temperatures_c):
                for k in range(len(temperatures_c)):
                    a = self._before[k]
                    b = temperatures_c[k]
                    if (
                        a is not None
                        and b is not None
                        and abs(b - a) > LEAP_C * (now_ms - self._second) // 1000
                    ):
                        broken = True
                    self._before[k] = b
            else:
                self._before = list(temperatures_c)
            self._second = now_ms
            self.broken = broken
        elif broken:
            self.broken = True
        if self.broken or hottest >= NEAR_C:
            self.cap_a = min(self.cap_a, LEAST_A)
            self._stepped = now_ms
        elif now_ms - self._stepped >= STEP_MS:
            self._stepped = now_ms
            if hottest >= WARM_C and self.cap_a > LEAST_A:
                self.cap_a -= 1
            elif hottest < COOL_C and self.cap_a < self._max_a:
                self.cap_a += 1
