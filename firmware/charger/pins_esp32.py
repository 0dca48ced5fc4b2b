"""Pins of the charger on a generic ESP32 (WROOM-32 on a DevKitC): the only numbers to change for another wiring.

Levels: contactor, RCM test and LED are active high. RCM trip, PE proof and mains sense are pulled up and held low by a
healthy circuit, so that a broken wire reads as "tripped", "no PE" and "dead". Chosen for the level they have while the
chip boots or is being flashed: docs/charger-wiring.md says why each one.
"""

MODEL = "ESP32"
PILOT_PWM = 25  # to the op-amp of the pilot; 1 kHz, high gives +12 V
PILOT_ADC = 36  # 100 k / 22 k to 3.3 V / 16 k to ground: 1.272 V + 0.0848 per volt of the pilot
PROXIMITY_ADC = 39  # 1 k pull-up to 3.3 V; None: the cable is fixed
TEMPERATURE_ADC = (
    34,
)  # 10 k NTC (B 3950) and 27 k to ground, 10 k to 3.3 V: contactor's terminals
CONTACTOR = 27  # coil driver with its own pull-down
RCM_TRIP = 32  # low: no residual current
RCM_TEST = 33  # high: the residual current monitor feeds itself a test current
PE_PROOF = 4  # low: protective earth proven
MAINS_SENSE = 13  # low: voltage after the contactor; None: not fitted
PZEM_UART = (2, 17, 16)  # UART, tx, rx
NFC_I2C = (0, 22, 21)  # bus, scl, sda
NFC_SPI = (2, 18, 23, 19, 5)  # bus, sck, mosi, miso, select
NFC_UART = (1, 18, 19)  # UART, tx, rx: instead of SPI
LED = 26
BUTTON = 14  # low: pressed; held at start it opens the access point
LAN = None
