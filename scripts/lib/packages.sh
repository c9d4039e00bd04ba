# System packages: only what is missing is installed, through apt on Debian and Ubuntu.
# Elsewhere the commands are looked for and the missing ones are named. Sourced after say.sh.

# What compiling needs: a C compiler for the cryptography, PC/SC headers for the token.
BUILD_PACKAGES=(gcc libc6-dev pkg-config libpcsclite-dev)
# What the demo's own lines use besides.
DEMO_PACKAGES=(tar zstd openssh-client)
# Other people's programs that the tests run, and what installing the pinned ones takes.
TEST_PACKAGES=(acl libarchive-tools time strace g++ yubico-piv-tool ykcs11 opensc opensc-pkcs11 python3 python3-venv python3-dev)

# Runs a command as root: directly, or through sudo, which ensure_packages has looked for.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# apt-get that never asks and waits a bounded time for another package manager.
apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >&2
}

missing_packages() {
  local name
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s\n' "$name"
  done
}

# ensure_packages NAME...: everything named is installed when this returns.
ensure_packages() {
  if ! command -v apt-get >/dev/null 2>&1; then
    ensure_commands
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1 ||
    fail "Packages are missing, and neither root nor sudo is here to install them." "As root: apt-get install ${missing[*]}"
  say "Installing with apt: ${missing[*]}"
  # The lists may be absent or old: they are fetched only if the first try does not find everything.
  if ! apt install -y --no-install-recommends "${missing[@]}" 2>/dev/null; then
    apt update || say "apt-get update did not finish; trying with the lists at hand."
    apt install -y --no-install-recommends "${missing[@]}" ||
      fail "apt could not install: ${missing[*]}" "Install them by hand and run this again."
  fi
}

# Without apt nothing is installed: what is absent is named in one message.
ensure_commands() {
  local absent=() name
  for name in cc pkg-config tar zstd ssh-keygen; do
    command -v "$name" >/dev/null 2>&1 || absent+=("$name")
  done
  pkg-config --exists libpcsclite 2>/dev/null || absent+=("the headers of pcsc-lite (libpcsclite)")
  if [ "${KEYWARD_SCRIPT:-demo}" != demo ]; then
    for name in python3 strace yubico-piv-tool opensc-tool; do
      command -v "$name" >/dev/null 2>&1 || absent+=("$name")
    done
    [ -x /usr/bin/time ] || absent+=("GNU time as /usr/bin/time")
  fi
  [ "${#absent[@]}" -eq 0 ] || fail "This system has no apt, and these are missing: $(printf '%s; ' "${absent[@]}")" \
    "Install them with your system's package manager and run this again."
}

ensure_rust() {
  command -v cargo >/dev/null 2>&1 ||
    fail "cargo is not here." "Install the Rust toolchain, version 1.95 or later: https://rustup.rs"
}
