# How the scripts speak: one calm line a fact on stderr, and how an error ends them.
# Sourced, never run.

say() { printf '%s\n' "$*" >&2; }

fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  for hint in "$@"; do printf 'hint:  %s\n' "$hint" >&2; done
  exit 1
}

# Where tools live between runs, by version; never inside the checkout.
keyward_cache() { printf '%s/keyward' "${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}"; }
