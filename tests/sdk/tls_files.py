"""Certificates of every kind, made for one test run and forgotten after it."""

import datetime
import ipaddress
import pathlib
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
HERE = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
AWAY = [x509.DNSName("other.example")]


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """An authority that signs whatever it is asked to."""

    def __init__(self, folder: pathlib.Path, title: str):
        self.folder, self.title = folder, title
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self._sign(title, self.key.public_key(), -1, 3650, None, is_ca=True)
        self.path = folder / f"{title}.pem"
        self.path.write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))

    def _sign(self, title, public, begins, ends, names, is_ca=False, usage=ExtendedKeyUsageOID.SERVER_AUTH):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(title))
            .issuer_name(name(self.title))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins * DAY)
            .not_valid_after(now + ends * DAY)
            .add_extension(x509.BasicConstraints(is_ca, None), True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, title, begins=-1, ends=90, names=HERE, key=None, usage=ExtendedKeyUsageOID.SERVER_AUTH):
        """Paths of a certificate and its key."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(title, key.public_key(), begins, ends, names, usage=usage)
        return write(self.folder, title, cert, key)


def write(folder, title, cert, key):
    paths = folder / f"{title}.pem", folder / f"{title}.key"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def short_key():
    return rsa.generate_private_key(65537, 1024)


def self_signed(folder: pathlib.Path, is_ca: bool):
    """As `openssl req -x509` makes it (`is_ca`), and as others do."""
    title = f"self-signed-{is_ca}"
    cert, key = folder / f"{title}.pem", folder / f"{title}.key"
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext", f"basicConstraints=critical,CA:{str(is_ca).upper()}", "-keyout", key, "-out", cert,
    )  # fmt: skip
    return cert, key


def sha1(authority: Authority):
    """Signed with SHA-1, which only the command line does any more."""
    folder = authority.folder
    cert, key, request = folder / "sha1.pem", folder / "sha1.key", folder / "sha1.csr"
    ca_key, extensions = folder / "ca.key", folder / "sha1.ext"
    ca_key.write_bytes(
        authority.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=sha1", "-keyout", key, "-out", request)
    openssl(
        "x509", "-req", "-sha1", "-in", request, "-CA", authority.path, "-CAkey", ca_key, "-CAcreateserial",
        "-days", "30", "-extfile", extensions, "-out", cert,
    )  # fmt: skip
    return cert, key


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
