# The other half of the main job, as a person types it: tokens are lost, and the data is not. The test sets SUITE and
# AGE_FOLDER, where the age of that suite lies, and makes the folder `photos`; `expect` ends the run with the line's
# number where an exit code is another than written here.
expect() {
  local code=$?
  if [ "$code" -ne "$1" ]; then
    printf 'line %s: exit code %s, expected %s\n' "${BASH_LINENO[0]}" "$code" "$1" >&2
    exit 1
  fi
}
set -o pipefail
unset KEYWARD_PIN KEYWARD_VAULT KEYWARD_HOME
PATH=$AGE_FOLDER:$PATH
age --version

keyward-emulator new alice.token --serial 11110001 --firmware 5.7.1
expect 0
keyward-emulator new bob.token   --serial 11110002 --firmware 5.7.1
expect 0
export KEYWARD_PIN=24681357 KEYWARD_VAULT=$PWD/vault KEYWARD_HOME=$PWD/home
if [ "$SUITE" = hybrid ]; then
  keyward-emulator run --token alice.token --token bob.token -- \
    keyward init --allow-emulated --yes --token alice=11110001 --token bob=11110002 \
      --paper carol=carol.txt --paper dave=dave.txt --policy 'alice or bob or (carol and dave)'
else
  keyward-emulator run --token alice.token --token bob.token -- \
    keyward init --suite classic --allow-emulated --yes --token alice=11110001 --token bob=11110002 \
      --paper carol=carol.txt --paper dave=dave.txt --policy 'alice or bob or (carol and dave)'
fi
expect 0
keyward seal photos -o photos.age
expect 0
keyward vault whatif --lost alice,bob > whatif.txt
expect 0
keyward open photos.age -C out1 --with carol=carol.txt --with dave=dave.txt
expect 0
keyward open photos.age -C out2 --with carol=carol.txt 2>out2.txt
expect 8
keyward-emulator run --token bob.token -- keyward revoke alice --yes --with carol=carol.txt
expect 0
keyward seal photos -o photos2.age
expect 0
keyward-emulator run --token alice.token -- keyward open photos2.age -C out3 2>out3.txt
expect 8
keyward-emulator run --token bob.token -- keyward open photos2.age -C out4
expect 0
keyward open photos.age -C out6 --with carol=carol.txt --with dave=dave.txt
expect 0
keyward-emulator run --token bob.token -- keyward epoch open --export epoch.txt --yes
expect 0
mkdir out5 && age -d -i epoch.txt photos2.age | zstd -d | tar x -C out5
expect 0
cp -r vault old && rm vault/statements/0002.* && keyward seal photos -o x.age 2>x.txt
expect 7
