// A PKCS#11 client in Node.js: signs with the P-256 key in 9A and decrypts with the RSA key in 9D.
//   node pkcs11.mjs MODULE ID_OF_9A ID_OF_9D
import { createHash, publicEncrypt, verify, constants } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const pkcs11js = createRequire(process.env.MODULES + "/")("pkcs11js");
const [module, signing, deciphering] = process.argv.slice(2);

const library = new pkcs11js.PKCS11();
library.load(module);
library.C_Initialize();
const [slot] = library.C_GetSlotList(true);
const session = library.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
library.C_Login(session, pkcs11js.CKU_USER, "123456");

function privateKey(id) {
  library.C_FindObjectsInit(session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_ID, value: Buffer.from([Number(id)]) },
  ]);
  const key = library.C_FindObjects(session);
  library.C_FindObjectsFinal(session);
  if (!key) throw new Error(`no private key ${id}`);
  return key;
}

const message = Buffer.from("signed by the token");
library.C_SignInit(session, { mechanism: pkcs11js.CKM_ECDSA }, privateKey(signing));
const signature = library.C_Sign(session, createHash("sha256").update(message).digest(), Buffer.alloc(64));
if (!verify("sha256", message, { key: readFileSync("9a.pem"), dsaEncoding: "ieee-p1363" }, signature))
  throw new Error("the signature does not verify");

const sealed = publicEncrypt({ key: readFileSync("9d.pem"), padding: constants.RSA_PKCS1_PADDING }, message);
library.C_DecryptInit(session, { mechanism: pkcs11js.CKM_RSA_PKCS }, privateKey(deciphering));
const opened = library.C_Decrypt(session, sealed, Buffer.alloc(256));
if (!opened.equals(message)) throw new Error("decrypted to something else");

library.C_Logout(session);
library.C_CloseSession(session);
library.C_Finalize();
console.log("signed and decrypted");
