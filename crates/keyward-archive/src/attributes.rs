//! Extended attributes (xattr(7)) and POSIX ACLs (acl(5)) of files and folders, between a file system
//! and a tar.
//!
//! An attribute becomes the pax record `SCHILY.xattr.NAME`. Linux keeps ACLs in two attributes of a
//! binary form; they become `SCHILY.acl.access` and `SCHILY.acl.default`, in the text form that GNU tar
//! and libarchive read back, with names where the system has them. Links have neither.

use std::os::fd::BorrowedFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

use crate::owners::Owners;
use crate::tar::header::MOST_ATTRIBUTE_BYTES;

/// Which extended attributes are sealed, or set when opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attributes {
    /// None.
    #[default]
    None,
    /// Those of users (`user.…`) and POSIX ACLs.
    User,
    /// All: those of the system too, such as capabilities (`security.…`) and `trusted.…`, which only
    /// root can read or set.
    All,
}

/// A name and a value.
pub(crate) type Attribute = (Vec<u8>, Vec<u8>);

/// Longest list of names and longest value, as the kernel has them (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const LONGEST: usize = 1 << 16;

const ACLS: [(&[u8], &[u8]); 2] =
    [(b"system.posix_acl_access", b"acl.access"), (b"system.posix_acl_default", b"acl.default")];

impl Attributes {
    fn takes(self, name: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::User => name.starts_with(b"user."),
            // The rest of `system.` is the file system's own, and ACLs are handled apart.
            Self::All => !name.starts_with(b"system."),
        }
    }

    /// Reads the attributes of an open file or folder, as a tar has them. The second value tells that
    /// some are left out, because there are more than one header holds.
    pub(crate) fn read(
        self,
        file: BorrowedFd<'_>,
        owners: &mut Owners,
    ) -> Result<(Vec<Attribute>, bool), Errno> {
        let mut found = Vec::new();
        if self == Self::None {
            return Ok((found, false));
        }
        let mut buffer = vec![0; LONGEST];
        let length = match flistxattr(file, buffer.as_mut_slice()) {
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok((found, false)),
            listed => listed?,
        };
        let mut names: Vec<Vec<u8>> = buffer
            .get(..length)
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        names.sort_unstable();
        let (mut bytes, mut left_out) = (0, false);
        for name in names {
            let acl = ACLS.iter().find(|(system, _)| *system == name).map(|(_, key)| *key);
            if acl.is_none() && !self.takes(&name) {
                continue;
            }
            let value = match fgetxattr(file, name.as_slice(), buffer.as_mut_slice()) {
                // Gone since it was listed.
                Err(Errno::NODATA) => continue,
                read => buffer.get(..read?).unwrap_or_default(),
            };
            let attribute = match acl {
                None => ([b"xattr.", name.as_slice()].concat(), value.to_vec()),
                Some(key) => match acl_text(value, owners) {
                    Some(text) => (key.to_vec(), text),
                    None => {
                        left_out = true;
                        continue;
                    }
                },
            };
            bytes += attribute.0.len() * 3 + attribute.1.len() + 32;
            if bytes > MOST_ATTRIBUTE_BYTES {
                return Ok((found, true));
            }
            found.push(attribute);
        }
        Ok((found, left_out))
    }

    /// What of a tar's attributes can be set here, by the system's names; and how many can not,
    /// though they were asked for.
    pub(crate) fn to_set(self, attributes: &[Attribute], owners: &mut Owners) -> (Vec<Attribute>, u64) {
        let (mut set, mut dropped) = (Vec::new(), 0);
        if self == Self::None {
            return (set, dropped);
        }
        for (key, value) in attributes {
            let acl = ACLS.iter().find(|(_, acl)| acl == key);
            let attribute = match (key.strip_prefix(b"xattr."), acl) {
                (Some(name), _) if self.takes(name) && !name.contains(&0) => {
                    Some((name.to_vec(), value.clone()))
                }
                (None, Some((name, _))) => match parse_acl(value, owners) {
                    Some(binary) => Some((name.to_vec(), binary)),
                    None => {
                        dropped += 1;
                        None
                    }
                },
                _ => None,
            };
            set.extend(attribute);
        }
        (set, dropped)
    }
}

/// Sets ACLs, or all other attributes, of an open file or folder. Returns how many the file system or
/// our rights do not allow.
pub(crate) fn set(file: BorrowedFd<'_>, attributes: &[Attribute], acls: bool) -> Result<u64, Errno> {
    let mut dropped = 0;
    for (name, value) in attributes.iter().filter(|(name, _)| name.starts_with(b"system.") == acls) {
        match fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL) => dropped += 1,
            set => set?,
        }
    }
    Ok(dropped)
}

/// The version of the binary form of an ACL (`linux/posix_acl_xattr.h`).
const ACL_VERSION: u32 = 2;
/// Kinds of entries in their order: tag, name, and whether it is of one user or group.
const ACL_TAGS: [(u16, &str, bool); 6] = [
    (0x01, "user", false),
    (0x02, "user", true),
    (0x04, "group", false),
    (0x08, "group", true),
    (0x10, "mask", false),
    (0x20, "other", false),
];
/// The identifier of an entry that is of no one user or group.
const NO_ID: u32 = u32::MAX;

/// An ACL of the system's binary form as text: `user::rw-,user:carol:r--,group::r--,mask::r--,other::---`.
fn acl_text(binary: &[u8], owners: &mut Owners) -> Option<Vec<u8>> {
    let (version, entries) = binary.split_first_chunk()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != ACL_VERSION || !rest.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    for [t0, t1, p0, p1, i0, i1, i2, i3] in entries {
        let tag = u16::from_le_bytes([*t0, *t1]);
        let rights = u16::from_le_bytes([*p0, *p1]);
        let id = u32::from_le_bytes([*i0, *i1, *i2, *i3]);
        let (_, kind, named) = ACL_TAGS.iter().find(|(known, ..)| *known == tag)?;
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(kind.as_bytes());
        text.push(b':');
        if *named {
            let name = if *kind == "user" { owners.user(id) } else { owners.group(id) };
            let plain = !name.is_empty()
                && !name.iter().any(|byte| byte.is_ascii_whitespace() || b":,#".contains(byte));
            text.extend_from_slice(if plain { name } else { b"" });
            if !plain {
                text.extend_from_slice(id.to_string().as_bytes());
            }
        }
        text.push(b':');
        for (bit, letter) in [(4, b'r'), (2, b'w'), (1, b'x')] {
            text.push(if rights & bit != 0 { letter } else { b'-' });
        }
    }
    Some(text)
}

/// An ACL in text to the system's binary form. `None` if it is none, or names somebody who is not
/// known here. A fourth field, as star writes it, is the number of a name.
fn parse_acl(text: &[u8], owners: &mut Owners) -> Option<Vec<u8>> {
    let mut entries = Vec::new();
    for entry in text.split(|byte| matches!(byte, b',' | b'\n')) {
        let entry = entry.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if entry.is_empty() {
            continue;
        }
        let mut fields = entry.split(|byte| *byte == b':').map(<[u8]>::trim_ascii);
        let kind = match fields.next()? {
            b"user" | b"u" => "user",
            b"group" | b"g" => "group",
            b"mask" | b"m" => "mask",
            b"other" | b"o" => "other",
            _ => return None,
        };
        let (mut name, mut rights) = (fields.next()?, fields.next());
        if rights.is_none() && matches!(kind, "mask" | "other") {
            (name, rights) = (b"", Some(name));
        }
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
        let named = !name.is_empty();
        let id = match (named, kind) {
            (false, _) => NO_ID,
            (true, "user") => {
                owners.user_id(name).or_else(|| number(name)).or_else(|| number(fields.next()?))?
            }
            (true, _) => owners.group_id(name).or_else(|| number(name)).or_else(|| number(fields.next()?))?,
        };
        let (tag, ..) = ACL_TAGS.iter().find(|(_, known, of_one)| *known == kind && *of_one == named)?;
        let rights = rights?.iter().try_fold(0_u16, |rights, letter| match letter {
            b'r' => Some(rights | 4),
            b'w' => Some(rights | 2),
            b'x' => Some(rights | 1),
            b'-' => Some(rights),
            _ => None,
        })?;
        entries.push((*tag, id, rights));
    }
    entries.sort_unstable();
    let mut binary = ACL_VERSION.to_le_bytes().to_vec();
    for (tag, id, rights) in entries {
        binary.extend_from_slice(&tag.to_le_bytes());
        binary.extend_from_slice(&rights.to_le_bytes());
        binary.extend_from_slice(&id.to_le_bytes());
    }
    Some(binary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn acls_in_text_as_other_programs_write_them() {
        let mut owners = Owners::default();
        let text = b"user::rw-,user:root:r-x,user:4000000000:---,group::r--,group:3000000000:rwx,mask::rwx,other::---";
        let binary = parse_acl(text, &mut owners).unwrap();
        assert_eq!(acl_text(&binary, &mut owners).unwrap(), text);
        assert_eq!(binary.len(), 4 + 7 * 8);
        for same in [
            &b"user::rw-\nuser:root:r-x\nuser:4000000000:---\ngroup::r--\ngroup:3000000000:rwx\t#effective:r--\nmask::rwx\nother::---\n"[..],
            b"other:---,u::rw-,g:nobody here:rwx:3000000000,u:0:rx,mask:rwx,g::r,user:x y:---:4000000000",
        ] {
            assert_eq!(parse_acl(same, &mut owners).as_deref(), Some(&binary[..]));
        }
        for bad in
            [&b"user"[..], b"user:nobody here:r--", b"all::rwx", b"user::rwz", b"mask:root:rwx", b"user::"]
        {
            let parsed = parse_acl(bad, &mut owners);
            assert!(parsed.is_none() || bad == b"user::", "{}", String::from_utf8_lossy(bad));
        }
        for bad in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01", b"\x02\0\0\0\x03\0\0\0\0\0\0\0"] {
            assert!(acl_text(bad, &mut owners).is_none());
        }
    }

    #[test]
    fn only_what_was_asked_for_is_set() {
        let attribute = |key: &str| (key.as_bytes().to_vec(), b"user::rwx,group::r--,other::---".to_vec());
        let all = [
            "xattr.user.a",
            "xattr.security.capability",
            "xattr.trusted.x",
            "xattr.system.posix_acl_access",
            "acl.access",
            "acl.else",
        ]
        .map(attribute);
        let names = |which: Attributes| {
            let (set, dropped) = which.to_set(&all, &mut Owners::default());
            assert_eq!(dropped, 0);
            set.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(Attributes::None), [""; 0]);
        assert_eq!(names(Attributes::User), ["user.a", "system.posix_acl_access"]);
        assert_eq!(
            names(Attributes::All),
            ["user.a", "security.capability", "trusted.x", "system.posix_acl_access"]
        );
        let wrong = [(b"acl.access".to_vec(), b"who::rwx".to_vec())];
        assert_eq!(Attributes::User.to_set(&wrong, &mut Owners::default()), (Vec::new(), 1));
    }

    proptest! {
        #[test]
        fn foreign_acls_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[ugmor:,rwx\\-# \n0-9]{0,60}") {
            let mut owners = Owners::default();
            let _ = acl_text(&bytes, &mut owners);
            let _ = parse_acl(text.as_bytes(), &mut owners);
        }
    }
}
