# A system's PC/SC daemon as a peer: Debian's pcscd, vsmartcard's driver and its own virtual card, of this system's
# release, and Python modules from PyPI. Unpacked into the cache and never installed. Sourced by `peers`.

PYTEST_VERSION=8.4.2
PYCRYPTODOME_VERSION=3.23.0

# Sets `pcscd` to the folder that they are unpacked in.
install_pcscd() {
  local candidate room version folder options=()
  local packages=(pcscd vsmartcard-vpcd vsmartcard-vpicc python3-virtualsmartcard)
  for candidate in "$cache"/pcscd-*; do
    ready "$candidate" || continue
    pcscd=$candidate
    say "peer: pcscd ${pcscd##*/pcscd-}, with vpcd and vicc"
    return
  done
  command -v apt-get >/dev/null 2>&1 || fail "pcscd with vsmartcard's driver is needed, and this system has no apt to take it from."
  say "Unpacking pcscd and vsmartcard of this system's release"
  ensure_packages libsystemd0 libudev1 libqrencode4 libpcsclite1
  room=$(mktemp -d)
  chmod 755 "$room"
  if [ "$(id -u)" -eq 0 ]; then options+=(-o APT::Sandbox::User=root); fi
  (
    cd "$room"
    timeout 300 apt-get -q "${options[@]}" download "${packages[@]}" >&2 ||
      { apt update && timeout 300 apt-get -q "${options[@]}" download "${packages[@]}" >&2; }
    for package in ./*.deb; do dpkg-deb -x "$package" unpacked; done
    dpkg-deb -f ./pcscd_*.deb Version >version
  ) || fail "pcscd and vsmartcard of this system's release could not be unpacked."
  version=$(cat "$room/version")
  folder=$cache/pcscd-$version
  rm -rf -- "$folder"
  mv -- "$room/unpacked" "$folder"
  rm -rf -- "$room"
  [ -x "$folder/usr/sbin/pcscd" ] || fail "The package pcscd has no /usr/sbin/pcscd."
  complete "$folder"
  pcscd=$folder
  say "peer: pcscd $version, with vpcd and vicc"
}

# Sets `python_modules` to a folder for a Python's PYTHONPATH: pytest, and the ciphers that vicc imports.
install_python_modules() {
  local python_tag folder
  python_tag=$("$(dirname "$ykman")/python" -c 'import sys; print("py%d.%d" % sys.version_info[:2])')
  folder=$cache/python-modules-pytest-$PYTEST_VERSION-pycryptodome-$PYCRYPTODOME_VERSION-$python_tag
  if ! ready "$folder"; then
    say "Installing pytest $PYTEST_VERSION and pycryptodome $PYCRYPTODOME_VERSION"
    fresh "$folder"
    timeout 600 "$(dirname "$ykman")/pip" install --quiet --disable-pip-version-check --target "$folder" \
      "pytest==$PYTEST_VERSION" "pycryptodome==$PYCRYPTODOME_VERSION" >&2 ||
      fail "pip could not install pytest $PYTEST_VERSION and pycryptodome $PYCRYPTODOME_VERSION."
    complete "$folder"
  fi
  python_modules=$folder
  say "peer: pytest $PYTEST_VERSION"
}
