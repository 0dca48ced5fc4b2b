-- Readings of long ago, a minute or a quarter hour in one row; the energy in them adds up exactly.
CREATE TABLE folded (
    step_s INTEGER NOT NULL CHECK (step_s IN (60, 900)),
    start_s INTEGER NOT NULL CHECK (start_s % step_s = 0),      -- UTC since 1970
    device TEXT NOT NULL,
    phase INTEGER NOT NULL,
    readings INTEGER NOT NULL,
    sum_ma INTEGER NOT NULL,                                    -- over the readings: the mean is sum / readings
    peak_ma INTEGER NOT NULL,
    sum_w INTEGER NOT NULL,
    used_wh INTEGER NOT NULL,                                   -- since the reading before the first of these
    energy_wh INTEGER NOT NULL,                                 -- the meter at the last of these
    PRIMARY KEY (step_s, start_s, device, phase)
) STRICT, WITHOUT ROWID;

-- The newest reading of each meter's phase that was folded: what the next one's energy counts from.
CREATE TABLE folded_to (
    device TEXT NOT NULL,
    phase INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    energy_wh INTEGER NOT NULL,
    PRIMARY KEY (device, phase)
) STRICT, WITHOUT ROWID;

-- All that was measured, however it is kept now.
CREATE VIEW measured (device, at_ms, phase, readings, sum_ma, peak_ma, low_wh, high_wh) AS
SELECT device, at_ms, phase, 1, current_ma, current_ma, energy_wh, energy_wh FROM reading WHERE suspect = 0
UNION ALL
SELECT device, start_s * 1000, phase, readings, sum_ma, peak_ma, energy_wh - used_wh, energy_wh
FROM folded WHERE step_s = 60
UNION ALL
SELECT device, start_s * 1000, phase, readings, sum_ma, peak_ma, energy_wh - used_wh, energy_wh
FROM folded WHERE step_s = 900;
