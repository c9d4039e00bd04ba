"""A PKCS#11 client in Python: signs with the P-256 key in 9A, agrees on a key with it, decrypts with the RSA key in 9D.

python pkcs11.py MODULE ID_OF_9A ID_OF_9D
"""

import hashlib
import sys

import PyKCS11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.serialization import load_pem_public_key

MESSAGE = b"signed by the token"

module, signing, deciphering = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def public_key(name):
    with open(name, "rb") as file:
        return load_pem_public_key(file.read())


library = PyKCS11.PyKCS11Lib()
library.load(module)
session = library.openSession(library.getSlotList(tokenPresent=True)[0], PyKCS11.CKF_SERIAL_SESSION)
session.login("123456")


def private_key(number):
    [key] = session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_ID, (number,))])
    return key


digest = hashlib.sha256(MESSAGE).digest()
raw = bytes(session.sign(private_key(signing), digest, PyKCS11.Mechanism(PyKCS11.CKM_ECDSA)))
r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
public_key("9a.pem").verify(utils.encode_dss_signature(r, s), MESSAGE, ec.ECDSA(hashes.SHA256()))

sealed = public_key("9d.pem").encrypt(MESSAGE, padding.PKCS1v15())
opened = bytes(session.decrypt(private_key(deciphering), sealed, PyKCS11.Mechanism(PyKCS11.CKM_RSA_PKCS)))
assert opened == MESSAGE, opened

session.logout()
session.closeSession()
print("signed and decrypted")
