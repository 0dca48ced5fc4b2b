"""Pins of the charger on an Olimex ESP32-POE (WROOM): Ethernet takes 12, 17, 18, 19, 21, 22, 23, 25, 26 and 27.

Levels as in pins_esp32.py. What is left over that is not a strapping pin goes to the pilot and the contactor.
"""

MODEL = "ESP32-POE"
PILOT_PWM = 33
PILOT_ADC = 36
PROXIMITY_ADC = 39
TEMPERATURE_ADC = (35,)
CONTACTOR = 32
RCM_TRIP = 16
RCM_TEST = 2  # low while booting, as this strapping pin wants it
PE_PROOF = 15
MAINS_SENSE = 5
PZEM_UART = (2, 4, 34)  # the board's button sits on 34 too: pressing it only disturbs the meter
NFC_I2C = (0, 14, 13)
NFC_SPI = None
NFC_UART = (1, 14, 13)  # UART, tx, rx: instead of I2C
LED = None
BUTTON = None
# MDC, MDIO, PHY power, PHY address; the board's own MicroPython build sets the clock on GPIO 17.
LAN = (23, 18, 12, 0)
