# The main job as a person types it. The test sets SUITE and makes the folder `photos`; `expect` ends the
# run with the line's number where an exit code is another than written here.
expect() {
  local code=$?
  if [ "$code" -ne "$1" ]; then
    printf 'line %s: exit code %s, expected %s\n' "${BASH_LINENO[0]}" "$code" "$1" >&2
    exit 1
  fi
}
set -o pipefail
unset KEYWARD_PIN KEYWARD_VAULT KEYWARD_HOME

keyward-emulator new alice.token --serial 11110001 --firmware 5.7.1
expect 0
keyward-emulator new bob.token   --serial 11110002 --firmware 5.7.1
expect 0
export KEYWARD_PIN=24681357 KEYWARD_VAULT=$PWD/vault KEYWARD_HOME=$PWD/home
if [ "$SUITE" = hybrid ]; then
  keyward-emulator run --token alice.token --token bob.token -- \
    keyward init --allow-emulated --yes --token alice=11110001 --token bob=11110002 --policy 'alice or bob'
else
  keyward-emulator run --token alice.token --token bob.token -- \
    keyward init --suite classic --allow-emulated --yes --token alice=11110001 --token bob=11110002 --policy 'alice or bob'
fi
expect 0
keyward seal photos -o photos.age
expect 0
keyward ls vault 2>ls-vault.txt; test $? -ne 0
expect 0
keyward-emulator run --token alice.token -- keyward open photos.age -C out1
expect 0
keyward-emulator run --token bob.token   -- keyward open photos.age -C out2
expect 0
keyward-emulator run --touch deny --token alice.token -- keyward open photos.age -C out3
expect 5
keyward open photos.age -C out4 2>no-token.txt
expect 3
keyward vault recipients > r.txt && tar c photos | zstd | age -R r.txt > stock.age
expect 0
keyward-emulator run --token bob.token -- keyward open stock.age --unverified -o - | zstd -d | tar t > listing.txt
expect 0
ssh-keygen -Y verify -n keyward-vault -I alice -f <(keyward vault show --allowed-signers) \
  -s vault/statements/0001.alice.sig < vault/statements/0001.json
expect 0
