# Other projects' own tests, which the emulator must pass, and a client that is built from source. Sourced by
# scripts/peers, after `ready`, `fresh` and `complete`.

YUBIKEY_CRATE_VERSION=0.9.0-rc.0
AGE_PLUGIN_YUBIKEY_VERSION=0.5.1

# The device tests that come with ykman's sources, and what runs them, beside ykman's own environment.
install_ykman_suite() {
  local pip=${ykman%/*}/pip folder=$cache/ykman-suite-$YKMAN_VERSION-${ykman_tag:?}
  if ! ready "$folder" || ! cmp -s "$here/peers.d/ykman-suite.txt" "$folder/requirements.txt"; then
    say "Installing the tests of ykman $YKMAN_VERSION"
    fresh "$folder"
    timeout 600 "$pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
      --dest "$folder" "yubikey-manager==$YKMAN_VERSION" >&2 ||
      fail "pip could not fetch the sources of ykman $YKMAN_VERSION."
    tar -C "$folder" -xzf "$folder/yubikey_manager-$YKMAN_VERSION.tar.gz" --strip-components=1
    timeout 600 "$pip" install --quiet --disable-pip-version-check --target "$folder/site" \
      -r "$here/peers.d/ykman-suite.txt" >&2 || fail "pip could not install what runs the tests of ykman."
    cp "$here/peers.d/ykman-suite.txt" "$folder/requirements.txt"
    complete "$folder"
  fi
  ykman_suite=$folder
  say "peer: tests of ykman $YKMAN_VERSION"
}

# Builds the integration tests of the sources in $1 into the file $2.
build_yubikey_suite() {
  local built
  built=$(cd "$1" && timeout 1200 cargo test --quiet --locked --no-run --test integration --target-dir ../target \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*\/integration-[^"]*\)".*/\1/p' | tail -n 1)
  [ -x "$built" ] || return 1
  cp "$built" "$2"
}

# The integration tests of the yubikey crate, built twice with its own lock file: as they are published, and with the
# crate's issue 670 corrected (it signs the SHA-512 of a message with Ed25519 where its own test expects the message).
install_yubikey_suite() {
  local folder=$cache/yubikey-crate-$YUBIKEY_CRATE_VERSION-suite source
  if ! ready "$folder"; then
    command -v cargo >/dev/null 2>&1 || fail "cargo is not here." "Install the Rust toolchain: https://rustup.rs"
    say "Building the integration tests of the yubikey crate $YUBIKEY_CRATE_VERSION"
    fresh "$folder"
    (cd "$here/.." && timeout 600 cargo fetch --quiet --locked) >&2 || fail "cargo could not fetch the dependencies."
    for source in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/yubikey-"$YUBIKEY_CRATE_VERSION"; do
      [ -d "$source" ] && break
    done
    cp -R "$source" "$folder/source" || fail "The sources of the yubikey crate $YUBIKEY_CRATE_VERSION are not in cargo's registry."
    chmod -R u+w "$folder/source"
    build_yubikey_suite "$folder/source" "$folder/published" &&
      sed -i 's/Ok(Sha512::digest(input).to_vec())/Ok(input.to_vec())/; s/use sha2::{Digest, Sha256, Sha512}/use sha2::{Digest, Sha256}/' "$folder/source/src/certificate.rs" &&
      build_yubikey_suite "$folder/source" "$folder/corrected" ||
      fail "The integration tests of the yubikey crate could not be built."
    cmp -s "$folder/published" "$folder/corrected" && fail "The correction of the yubikey crate changed nothing."
    rm -rf -- "$folder/target"
    complete "$folder"
  fi
  yubikey_suite=$folder
  say "peer: tests of the yubikey crate $YUBIKEY_CRATE_VERSION"
}

install_age_plugin_yubikey() {
  local folder=$cache/age-plugin-yubikey-$AGE_PLUGIN_YUBIKEY_VERSION
  if ! ready "$folder"; then
    command -v cargo >/dev/null 2>&1 || fail "cargo is not here." "Install the Rust toolchain: https://rustup.rs"
    say "Building age-plugin-yubikey $AGE_PLUGIN_YUBIKEY_VERSION; this takes some minutes"
    fresh "$folder"
    timeout 1800 cargo install --quiet --locked --debug --version "$AGE_PLUGIN_YUBIKEY_VERSION" --root "$folder" \
      --target-dir "$folder/target" age-plugin-yubikey >&2 ||
      fail "cargo could not install age-plugin-yubikey $AGE_PLUGIN_YUBIKEY_VERSION."
    rm -rf -- "$folder/target"
    complete "$folder"
  fi
  age_plugin_yubikey=$folder/bin/age-plugin-yubikey
  say "peer: age-plugin-yubikey $("$age_plugin_yubikey" --version | awk '{ print $2 }')"
}

# PKCS#11 clients for Python and Node.js. pkcs11js comes as sources: it is compiled here, with Node's headers from npm.
install_pkcs11_clients() {
  local folder=$cache/pkcs11-clients-${ykman_tag:?} file stale=
  for file in requirements.txt package-lock.json; do
    cmp -s "$here/peers.d/pkcs11/$file" "$folder/$file" || stale=yes
  done
  if [ -n "$stale" ] || ! ready "$folder"; then
    say "Installing the PKCS#11 clients PyKCS11 and pkcs11js"
    fresh "$folder"
    cp "$here"/peers.d/pkcs11/* "$folder/"
    timeout 600 "${ykman%/*}/pip" install --quiet --disable-pip-version-check --only-binary :all: \
      --target "$folder/site" -r "$folder/requirements.txt" >&2 || fail "pip could not install PyKCS11."
    (cd "$folder" && timeout 600 env NODE_DISABLE_COMPILE_CACHE=1 PATH="$(dirname "$node"):$PATH" "${npm[@]}" ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
      fail "npm could not install pkcs11js."
    (
      cd "$folder/node_modules/pkcs11js"
      mkdir -p build/Release
      c++ -shared -fPIC -O1 -std=c++17 -DNODE_GYP_MODULE_NAME=pkcs11 -DNAPI_DISABLE_CPP_EXCEPTIONS \
        -I includes -I ../node-api-headers/include src/dl.cpp src/common.cpp src/main.cpp -o build/Release/pkcs11.node -ldl >&2
    ) || fail "pkcs11js could not be compiled." "On Debian and Ubuntu: apt-get install g++"
    complete "$folder"
  fi
  pkcs11_clients=$folder
  say "peer: PyKCS11 and pkcs11js"
}
