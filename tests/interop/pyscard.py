"""A bare PC/SC client, pyscard: reads, verifies the PIN, signs and agrees on a key with APDUs of its own.

The token has a P-256 key in 9A, whose public half is in 9a.pem.
"""

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from smartcard.scard import SCARD_PROTOCOL_T1
from smartcard.System import readers

with open("9a.pem", "rb") as file:
    public = load_pem_public_key(file.read())

[reader] = readers()
assert "Yubico YubiKey" in reader.name, reader.name
connection = reader.createConnection()
connection.connect(SCARD_PROTOCOL_T1)
assert bytes(connection.getATR()).hex() == "3bfd1300008131fe158073c021c057597562694b657940"


def send(header, data=b""):
    """Sends a command, fetches all of the answer, and expects 9000."""
    apdu = bytes.fromhex(header) + (bytes([len(data)]) + data if data else b"")
    answer, sw1, sw2 = connection.transmit(list(apdu))
    while sw1 == 0x61:
        more, sw1, sw2 = connection.transmit([0, 0xC0, 0, 0, sw2])
        answer += more
    assert (sw1, sw2) == (0x90, 0x00), f"{header}: {sw1:02x}{sw2:02x}"
    return bytes(answer)


send("00a40400", bytes.fromhex("a000000308"))
assert send("00fd0000") == bytes([5, 7, 1])
assert int.from_bytes(send("00f80000"), "big") == 11110001
send("00200080", b"123456\xff\xff")

message = b"signed by the token"
digest = hashlib.sha256(message).digest()
signature = send("0087119a", bytes.fromhex("7c2482008120") + digest)[4:]
public.verify(signature, message, ec.ECDSA(hashes.SHA256()))

ours = ec.generate_private_key(ec.SECP256R1())
point = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
assert send("0087119a", bytes.fromhex("7c4582008541") + point)[4:] == ours.exchange(ec.ECDH(), public)
print("signed and agreed")
