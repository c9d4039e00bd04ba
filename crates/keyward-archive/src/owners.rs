//! Names of users and groups, from the system's database (getpwuid(3) and its kin, by the crate
//! `nix`). An archive has name and number; a name that is known here goes before the number, as in
//! GNU tar.

use std::collections::HashMap;

use nix::unistd::{Gid, Group, Uid, User};

/// Answers kept; an archive can name more owners than there are, and shall not fill memory with them.
const MOST_KEPT: usize = 4096;

/// Looks names up, and remembers what it found.
#[derive(Default)]
pub(crate) struct Owners {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
    user_ids: HashMap<Vec<u8>, Option<u32>>,
    group_ids: HashMap<Vec<u8>, Option<u32>>,
}

impl Owners {
    /// The name of a user; empty if the system has none, or cannot say.
    pub(crate) fn user(&mut self, id: u32) -> &Vec<u8> {
        kept(&mut self.users, id, |id| {
            User::from_uid(Uid::from_raw(*id))
                .ok()
                .flatten()
                .map(|user| user.name.into_bytes())
                .unwrap_or_default()
        })
    }

    /// The name of a group; empty if the system has none, or cannot say.
    pub(crate) fn group(&mut self, id: u32) -> &Vec<u8> {
        kept(&mut self.groups, id, |id| {
            Group::from_gid(Gid::from_raw(*id))
                .ok()
                .flatten()
                .map(|group| group.name.into_bytes())
                .unwrap_or_default()
        })
    }

    /// The user with this name.
    pub(crate) fn user_id(&mut self, name: &[u8]) -> Option<u32> {
        *kept(&mut self.user_ids, name.to_vec(), |name| {
            let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?;
            User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
        })
    }

    /// The group with this name.
    pub(crate) fn group_id(&mut self, name: &[u8]) -> Option<u32> {
        *kept(&mut self.group_ids, name.to_vec(), |name| {
            let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?;
            Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
        })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\0')
}

fn kept<K: Eq + std::hash::Hash, V>(kept: &mut HashMap<K, V>, key: K, look: impl FnOnce(&K) -> V) -> &V {
    if kept.len() >= MOST_KEPT && !kept.contains_key(&key) {
        kept.clear();
    }
    kept.entry(key).or_insert_with_key(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nobody_else_is_made_up() {
        let mut owners = Owners::default();
        for _ in 0..2 {
            assert_eq!(owners.user(0), b"root");
            assert_eq!(owners.group(0), b"root");
            assert_eq!((owners.user_id(b"root"), owners.group_id(b"root")), (Some(0), Some(0)));
            for name in [&b""[..], b"no such user", b"a\0b", b"\xff"] {
                assert_eq!((owners.user_id(name), owners.group_id(name)), (None, None));
            }
        }
        for id in 3_000_000_000..3_000_000_000 + MOST_KEPT as u32 + 5 {
            assert_eq!(owners.user(id), b"");
        }
        assert!(owners.users.len() <= MOST_KEPT);
    }
}
