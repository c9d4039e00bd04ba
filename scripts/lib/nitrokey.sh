# Nitrokey's PIV card in software as a peer: the crate of tests/peers/nitrokey-card, built into the cache under a name that
# changes with its sources. Sourced by `peers`.

# Sets `nitrokey_card` to the program.
install_nitrokey_card() {
  local source=$here/../tests/peers/nitrokey-card version folder
  version=$(cd "$source" && cat Cargo.lock Cargo.toml src/*.rs | sha256sum | cut -c 1-12)
  folder=$cache/nitrokey-card-$version
  if ! ready "$folder"; then
    command -v cargo >/dev/null 2>&1 || fail "cargo is not here." "Install the Rust toolchain: https://rustup.rs"
    # littlefs2, which the card stores with, reads C headers while it is built.
    ensure_packages libclang-dev clang
    say "Building Nitrokey's PIV card; this takes a minute or two"
    fresh "$folder"
    timeout 1800 cargo install --quiet --locked --debug --path "$source" --root "$folder" \
      --target-dir "$folder/target" >&2 || fail "cargo could not build tests/peers/nitrokey-card."
    rm -rf -- "$folder/target"
    complete "$folder"
  fi
  nitrokey_card=$folder/bin/nitrokey-card
  say "peer: piv-authenticator 0.7.0"
}
