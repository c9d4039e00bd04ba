"""A PIV program tested without hardware: pytest, Yubico's library, and an emulated YubiKey under the test's hand.

Needs `keyward-emulator` on the PATH and `pip install pytest yubikey-manager`.
"""

import json
import os
import subprocess
import threading

import pytest
from smartcard.Exceptions import CardConnectionException
from smartcard.System import readers
from ykman.pcsc import ScardSmartCardConnection
from yubikit.piv import (
    DEFAULT_MANAGEMENT_KEY,
    KEY_TYPE,
    PIN_POLICY,
    SLOT,
    TOUCH_POLICY,
    InvalidPinError,
    PivSession,
)

PIN = "123456"
SERIAL = "11110001"


class Emulator:
    """A token from the factory, plugged in."""

    def __init__(self, folder):
        token, socket = folder / "alice.token", folder / "pcsc"
        subprocess.run(["keyward-emulator", "new", token, "--serial", SERIAL], check=True)
        self.server = subprocess.Popen(
            ["keyward-emulator", "serve", "--token", token, "--socket", socket, "--touch", "manual"],
            stderr=subprocess.PIPE,
            text=True,
        )
        while "Clients reach it" not in self.server.stderr.readline():
            assert self.server.poll() is None, "the emulator ended"
        os.environ["PCSCLITE_CSOCK_NAME"] = str(socket)
        os.environ["KEYWARD_EMULATOR_CTL"] = f"{socket}.ctl"

    def ctl(self, *request):
        done = subprocess.run(["keyward-emulator", "ctl", *request], check=True, capture_output=True, text=True)
        return done.stdout

    def status(self):
        return json.loads(self.ctl("status"))

    def stop(self):
        self.server.terminate()
        self.server.wait(20)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("token"))
    yield emulator
    emulator.stop()


@pytest.fixture
def piv(emulator):
    """A session with a token that has been reset, as each test begins."""
    (reader,) = readers()
    connection = reader.createConnection()
    connection.connect()
    session = PivSession(ScardSmartCardConnection(connection))
    session.reset()
    session.authenticate(DEFAULT_MANAGEMENT_KEY)
    yield session
    emulator.ctl("fault", SERIAL, "clear")
    connection.disconnect()
    connection.release()


def test_a_wrong_pin_costs_a_try(piv):
    piv.verify_pin(PIN)
    with pytest.raises(InvalidPinError) as wrong:
        piv.verify_pin("654321")
    assert wrong.value.attempts_remaining == 2


def test_a_key_waits_for_the_finger(emulator, piv):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    public = piv.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, PIN_POLICY.ONCE, TOUCH_POLICY.ALWAYS)
    piv.verify_pin(PIN)
    signatures = []
    signing = threading.Thread(
        target=lambda: signatures.append(
            piv.sign(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, b"a message", hashes.SHA256())
        )
    )
    signing.start()
    emulator.ctl("wait-touch", SERIAL)
    assert emulator.status()["waiting"] and not signatures
    emulator.ctl("touch")
    signing.join(20)
    public.verify(signatures[0], b"a message", ec.ECDSA(hashes.SHA256()))


def test_a_token_may_be_pulled_out(emulator, piv):
    emulator.ctl("fault", SERIAL, "remove@1")
    with pytest.raises(CardConnectionException):
        piv.verify_pin(PIN)
    assert not readers()
    emulator.ctl("insert", SERIAL)
    assert len(readers()) == 1
