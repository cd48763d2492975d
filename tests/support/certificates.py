"""Certificates for TLS servers in tests: a good one, and several kinds of bad ones."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The first and the last day, from today.
_VALID, _EXPIRED = (-1, 30), (-30, -1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One server's certificate chain and key, as PEM files."""

    chain: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Return a context that presents this certificate and offers HTTP/1.1 only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        context.set_alpn_protocols(["http/1.1"])
        return context


class PrivateAuthority:
    """A certificate authority that only tests trust, through `ca_file`."""

    def __init__(self, folder: Path) -> None:
        """Make the authority's key and certificate below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's own authority")])
        authority = (
            _unsigned(self._name, self._name, self._key.public_key(), _VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / "authority.pem"
        self.ca_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))

    def valid(self, *names: str) -> Certificate:
        """Issue a certificate for host names and IP addresses."""
        return self._issue("valid", names)

    def wrong_name(self) -> Certificate:
        """Issue a certificate for a host that is not ours."""
        return self._issue("wrong-name", ("elsewhere.test",))

    def expired(self, *names: str) -> Certificate:
        """Issue a certificate that ran out yesterday."""
        return self._issue("expired", names, days=_EXPIRED)

    def self_signed(self, *names: str) -> Certificate:
        """Make a certificate that no authority signed."""
        return self._issue("self-signed", names, signs_itself=True)

    def _issue(
        self, label: str, names: tuple[str, ...], *, days: tuple[int, int] = _VALID, signs_itself: bool = False
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        signer, issuer = (key, subject) if signs_itself else (self._key, self._name)
        leaf = (
            _unsigned(subject, issuer, key.public_key(), days)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            # OpenSSL's strict mode (Python 3.13's default) wants both key identifiers.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        made = Certificate(self._folder / f"{label}.pem", self._folder / f"{label}.key")
        made.chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        made.key.touch(mode=0o600)
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: tuple[int, int]
) -> x509.CertificateBuilder:
    start, end = (dt.datetime.now(dt.UTC) + dt.timedelta(days=each) for each in days)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs_certificates, crl_sign=signs_certificates, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
