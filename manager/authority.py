"""The installation's own certificate authority: who may speak TLS, and that it is our broker.

Elliptic-curve keys (P-256): an ESP32 verifies them in a fraction of the time RSA takes. PEM in and
out; writing files is the caller's.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_YEARS = 20  # a building's boards are not opened to change a certificate
LEAF_DAYS = 825  # what TLS clients commonly accept at most
_SKEW = timedelta(hours=24)  # a Raspberry Pi without network time starts with yesterday's clock


class AuthorityError(ValueError):
    """A certificate that cannot be made or read; says why."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key, PEM. The key is a secret: mode 0600, never logged."""

    certificate: bytes
    key: bytes


def _name(common_name: str) -> x509.Name:
    if not 1 <= len(common_name) <= 64:
        raise AuthorityError(f"a certificate's name has 1 to 64 characters: {common_name!r}")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make_authority(site: str, now: datetime) -> Credential:
    """A new authority for this site, able to sign leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"IEVCC {site} authority")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=365 * AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Credential(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def issue(
    authority: Credential,
    common_name: str,
    now: datetime,
    hosts: tuple[str, ...] = (),
    days: int = LEAF_DAYS,
) -> Credential:
    """A certificate of ours: a server's for `hosts` (names, addresses), or a client's.

    It is valid from when the authority is: a board without a battery may judge it by the clock of
    the day on which the board was set up.
    """
    try:
        ca = x509.load_pem_x509_certificate(authority.certificate)
        ca_key = serialization.load_pem_private_key(authority.key, None)
    except ValueError as e:
        raise AuthorityError(f"the authority's files are damaged: {e}") from e
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise AuthorityError("the authority's key is not of this program's making")
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ca.not_valid_before_utc)
        .not_valid_after(min(now + timedelta(days=days), ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if hosts:
        names = x509.SubjectAlternativeName([_host(h) for h in hosts])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    return Credential(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as e:
        raise AuthorityError(f"{host!r} is neither a host's name nor its address") from e


def expires(certificate: bytes) -> datetime:
    """When a certificate ends (UTC)."""
    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError as e:
        raise AuthorityError(f"not a certificate: {e}") from e
