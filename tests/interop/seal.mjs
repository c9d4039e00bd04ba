// Seals `plain` to the recipients in `r.txt` with age-encryption, into `stock.age`.
// MODULES is the folder that age-encryption was installed into.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.MODULES + "/");
const { Encrypter } = await import(pathToFileURL(require.resolve("age-encryption")));
const encrypter = new Encrypter();
for (const line of readFileSync("r.txt", "utf8").split("\n")) {
  if (line && !line.startsWith("#")) encrypter.addRecipient(line);
}
writeFileSync("stock.age", await encrypter.encrypt(readFileSync("plain")));
