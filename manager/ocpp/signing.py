"""Signed meter values: OCMF over ECDSA P-256, with the manager's own key.

Both versions as the Open Charge Alliance's paper on them has it: 1.6 in the form of 2.0.1 as text.
It says that this manager had this reading and that nobody has changed it since. It is no calibrated
meter's signature: a PZEM-004T has none to give.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from manager.ocpp.quirks import time_text

Payload = dict[str, Any]
_MARKS = {"Transaction.Begin": "B", "Sample.Periodic": "C", "Transaction.End": "E"}


class Signer:
    """Signs readings. `pem` is the private key, "" to make a new one."""

    def __init__(self, pem: str = "") -> None:
        if pem:
            key = serialization.load_pem_private_key(pem.encode(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._key = key
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
        self._page = 0

    def pem(self) -> str:
        """The private key, to be kept where nobody else reads."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def public(self) -> bytes:
        """The public key, DER."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def told_key(self) -> str:
        """The public key as the Open Charge Alliance's paper on signed meter values has it told."""
        return base64.b64encode(f"oca:base16:asn1:{self.public().hex()}".encode()).decode()

    def ocmf(self, meter: str, energy_wh: int, at_ms: int, mark: str) -> str:
        """One reading: OCMF|what is signed|the signature. `mark`: B begin, C in between, E end."""
        # Pages rise for ever, over a restart too: nobody signs more than one a second for long.
        self._page = max(self._page + 1, at_ms // 1000)
        what = json.dumps(
            {
                "FV": "1.0",
                "GI": "IEVCC",
                "GS": meter,
                "PG": f"T{self._page}",
                "RD": [
                    {
                        "TM": f"{time_text(at_ms).replace('Z', '+0000').replace('.', ',')} S",
                        "TX": mark,
                        "RV": round(energy_wh / 1000, 3),
                        "RU": "kWh",
                        "ST": "G",
                    }
                ],
            },
            separators=(",", ":"),
        )
        signature = self._key.sign(what.encode(), ec.ECDSA(hashes.SHA256()))
        said = {"SA": "ECDSA-secp256r1-SHA256", "SD": signature.hex()}
        return f"OCMF|{what}|" + json.dumps(said, separators=(",", ":"))

    def signed(
        self, meter: str, energy_wh: int, at_ms: int, context: str, *, new: bool, key: bool
    ) -> Payload:
        """The reading as a sampled value of either version; `key`: with the public key."""
        text = self.ocmf(meter, energy_wh, at_ms, _MARKS[context])
        signed = {
            "signedMeterData": base64.b64encode(text.encode()).decode(),
            "signingMethod": "",  # OCMF says it itself
            "encodingMethod": "OCMF",
            "publicKey": self.told_key() if key else "",
        }
        one: Payload = {"measurand": "Energy.Active.Import.Register", "context": context}
        if not new:
            value = json.dumps(signed, separators=(",", ":"))
            return {**one, "format": "SignedData", "unit": "Wh", "value": value}
        unit = {"unit": "Wh"}
        return {**one, "value": energy_wh, "unitOfMeasure": unit, "signedMeterValue": signed}
