use proptest::prelude::*;

use super::*;

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn set(names: &str) -> BTreeSet<Name> {
    names.split_whitespace().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn canonical_text() {
    for (written, canonical) in [
        ("alice", "alice"),
        ("((alice))", "alice"),
        ("  alice   or\tbob ", "alice or bob"),
        ("bob or alice", "bob or alice"),
        ("alice or (bob or carol)", "alice or bob or carol"),
        ("(alice and bob) and carol", "alice and bob and carol"),
        ("1 of (alice, bob)", "alice or bob"),
        ("2 of (alice, bob)", "alice and bob"),
        ("1 of (alice)", "alice"),
        ("1 of (1 of (carol, alice))", "carol or alice"),
        ("1 of (2 of (carol, alice))", "carol and alice"),
        ("alice or 2 of (carol, dave, paper)", "alice or 2 of (carol, dave, paper)"),
        ("alice or (2 of (carol, dave, paper))", "alice or 2 of (carol, dave, paper)"),
        ("alice or bob or (carol and dave)", "alice or bob or (carol and dave)"),
        ("2 of (a, b and c, (d or e))", "2 of (a, b and c, d or e)"),
        ("2 of (a, 2 of (b, c, d), e)", "2 of (a, 2 of (b, c, d), e)"),
        ("2 of (a, b or c) ", "a and (b or c)"),
        ("(alice and bob) or (alice and carol)", "(alice and bob) or (alice and carol)"),
    ] {
        let parsed = policy(written);
        assert_eq!(parsed.to_string(), canonical);
        assert_eq!(policy(canonical), parsed, "{canonical} is not canonical");
    }
}

#[test]
fn refused_texts() {
    let expected = |text: &str| match text.parse::<Policy>() {
        Err(PolicyError::Expected { position, .. }) => position,
        other => panic!("{text}: {other:?}"),
    };
    for (text, position) in [
        ("", 1),
        ("alice or", 9),
        ("alice bob", 7),
        ("(alice", 7),
        ("alice)", 6),
        ("alice,bob", 6),
        ("2 alice", 3),
        ("2 of alice", 6),
        ("2 of (alice, bob", 17),
        ("2 of ()", 7),
        ("2of(alice, bob)", 1),
        ("02 of (alice, bob)", 1),
        ("0 of (alice, bob)", 1),
        ("256 of (alice, bob)", 1),
    ] {
        assert_eq!(expected(text), position, "{text}");
    }
    assert_eq!("a or b and c".parse::<Policy>(), Err(PolicyError::Mixed { position: 8 }));
    assert_eq!("a and b or c".parse::<Policy>(), Err(PolicyError::Mixed { position: 9 }));
    assert_eq!("3 of (a, b)".parse::<Policy>(), Err(PolicyError::Threshold { needed: 3, parts: 2 }));
    for twice in ["a or a", "a or (b or a)", "2 of (a, b, a)", "(a and b) or (a and b)"] {
        assert!(matches!(twice.parse::<Policy>(), Err(PolicyError::Twice { .. })), "{twice}");
    }
    for name in ["Alice", "alice or b_b", "alice or \u{1b}[2J", "of", "or alice", "alice or and"] {
        assert!(matches!(name.parse::<Policy>(), Err(PolicyError::Name { .. })), "{name}");
    }
}

#[test]
fn limits() {
    let too_large = |text: &str, what: &str| match text.parse::<Policy>() {
        Err(PolicyError::TooLarge { what: found, .. }) => assert_eq!(found, what),
        other => panic!("{text}: {other:?}"),
    };
    let names = |count: usize| (0..count).map(|i| format!("n{i}")).collect::<Vec<_>>();
    assert_eq!(policy(&names(64).join(" or ")).names().len(), 64);
    too_large(&names(65).join(" or "), "names");
    too_large(&format!("32 of ({})", names(64).join(", ")), "ways to open");
    assert_eq!(policy(&format!("7 of ({})", names(14).join(", "))).minimal_sets().len(), 3432);
    too_large(&"(".repeat(500), "open parentheses");
    too_large(&"a".repeat(3000), "bytes");
    let nested = |levels: usize| {
        let mut text = "z".to_owned();
        for level in 0..levels {
            text = format!("n{level} {} ({text})", if level % 2 == 0 { "or" } else { "and" });
        }
        text
    };
    assert_eq!(policy(&nested(7)).root.depth(), 8);
    too_large(&nested(8), "levels");
}

#[test]
fn who_opens() {
    let team = policy("alice or bob or (carol and dave)");
    assert_eq!(team.direct_holders(), set("alice bob"));
    assert_eq!(team.minimal_sets(), [set("alice"), set("bob"), set("carol dave")]);
    assert_eq!(team.part_that_needs_shares().as_deref(), Some("carol and dave"));
    assert!(team.indispensable().is_empty());
    assert!(!team.satisfied_by(&set("carol")));
    assert!(team.satisfied_by(&set("carol dave erin")));

    let flat = policy("alice or bob");
    assert_eq!(flat.part_that_needs_shares(), None);
    assert_eq!(policy("alice").part_that_needs_shares(), None);
    assert_eq!(policy("alice and bob").part_that_needs_shares().as_deref(), Some("alice and bob"));
    assert_eq!(policy("alice").indispensable(), set("alice"));
    assert_eq!(policy("alice and (bob or carol)").indispensable(), set("alice"));

    // A holder who opens alone may also stand in another branch; the larger sets are dropped.
    assert_eq!(policy("alice or 2 of (alice, bob, carol)").minimal_sets(), [set("alice"), set("bob carol")]);
}

#[test]
fn somebody_leaves() {
    let without = |text: &str, gone: &str, shrink| {
        policy(text).without(&gone.parse().unwrap(), shrink).unwrap().map(|left| left.to_string())
    };
    for (text, gone, kept, shrunk) in [
        ("alice", "alice", None, None),
        ("alice or bob", "alice", Some("bob"), Some("bob")),
        ("alice and bob", "alice", None, Some("bob")),
        (
            "alice or bob or (carol and dave)",
            "alice",
            Some("bob or (carol and dave)"),
            Some("bob or (carol and dave)"),
        ),
        ("alice or bob or (carol and dave)", "carol", Some("alice or bob"), Some("alice or bob or dave")),
        ("2 of (a, b, c)", "c", Some("a and b"), Some("a and b")),
        ("3 of (a, b, c)", "c", None, Some("a and b")),
        ("2 of (a, b and c, d)", "c", Some("a and d"), Some("2 of (a, b, d)")),
        ("a and (b or c)", "c", Some("a and b"), Some("a and b")),
        ("(a or c) and (b or c)", "c", Some("a and b"), Some("a and b")),
        ("(a and b) or (a and c)", "c", Some("a and b"), Some("(a and b) or a")),
        ("a or (b and c)", "zoe", Some("a or (b and c)"), Some("a or (b and c)")),
    ] {
        assert_eq!(without(text, gone, false).as_deref(), kept, "{text} without {gone}");
        assert_eq!(without(text, gone, true).as_deref(), shrunk, "{text} without {gone}, shrunk");
    }
}

#[test]
fn a_tree_to_show() {
    let team = policy("alice or 2 of (bob, carol, dave)");
    let PolicyPart::Of { needed: 1, parts } = team.tree() else { panic!("{:?}", team.tree()) };
    assert!(matches!(&parts[0], PolicyPart::Holder(name) if name.as_str() == "alice"));
    assert!(matches!(&parts[1], PolicyPart::Of { needed: 2, parts } if parts.len() == 3));
}

#[test]
fn what_weakens() {
    let opens_more = |new: &str, old: &str| policy(new).opens_more_than(&policy(old));
    assert!(!opens_more("bob", "alice or bob"));
    assert!(!opens_more("alice or bob", "bob or alice"));
    assert!(!opens_more("alice and bob", "alice or bob"));
    assert!(opens_more("alice or bob", "alice"));
    assert!(opens_more("alice", "alice and bob"));
    assert!(opens_more("alice or carol", "alice or bob"));
    assert!(opens_more("2 of (a, b, c)", "3 of (a, b, c)"));
}

/// Random trees as text, over six names.
fn any_policy() -> impl Strategy<Value = String> {
    let leaf = (0..6_u8).prop_map(|i| char::from(b'a' + i).to_string());
    leaf.prop_recursive(3, 20, 4, |inner| {
        (prop::collection::vec(inner, 1..5), any::<prop::sample::Index>()).prop_map(|(parts, index)| {
            let needed = index.index(parts.len()) + 1;
            format!("{needed} of ({})", parts.join(", "))
        })
    })
}

/// The meaning of the text, evaluated without the tree under test: a second, naive reader of `k of (…)` and names.
fn naive(text: &str, holders: &BTreeSet<Name>) -> bool {
    fn eval(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, holders: &BTreeSet<Name>) -> bool {
        let first = chars.next().unwrap();
        let Some(needed) = first.to_digit(10) else {
            return holders.contains(&first.to_string().parse::<Name>().unwrap());
        };
        " of (".chars().for_each(|c| assert_eq!(chars.next(), Some(c)));
        let mut met = 0;
        loop {
            met += u32::from(eval(chars, holders));
            match chars.next() {
                Some(',') => assert_eq!(chars.next(), Some(' ')),
                _ => return met >= needed,
            }
        }
    }
    eval(&mut text.chars().peekable(), holders)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn evaluation_is_what_brute_force_says(text in any_policy()) {
        let parsed = match text.parse::<Policy>() {
            Ok(parsed) => parsed,
            Err(PolicyError::Twice { .. }) => return Ok(()),
            Err(other) => return Err(TestCaseError::fail(format!("{text}: {other}"))),
        };
        prop_assert_eq!(&parsed.to_string().parse::<Policy>().unwrap(), &parsed);
        let everyone: Vec<Name> = ["a", "b", "c", "d", "e", "f"].map(|name| name.parse().unwrap()).to_vec();
        let minimal = parsed.minimal_sets();
        let mut expected_minimal = 0;
        for mask in 0..64_u32 {
            let holders: BTreeSet<Name> =
                everyone.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, name)| name.clone()).collect();
            let opens = naive(&text, &holders);
            prop_assert_eq!(parsed.satisfied_by(&holders), opens, "{} with {:?}", text, holders);
            prop_assert_eq!(minimal.iter().any(|set| set.is_subset(&holders)), opens);
            let spare = |name: &Name| {
                let without: BTreeSet<Name> = holders.iter().filter(|other| *other != name).cloned().collect();
                naive(&text, &without)
            };
            let is_minimal = opens && !holders.iter().any(spare);
            prop_assert_eq!(minimal.contains(&holders), is_minimal);
            expected_minimal += usize::from(is_minimal);
            prop_assert_eq!(
                holders.len() == 1 && parsed.direct_holders().contains(holders.first().unwrap()),
                holders.len() == 1 && opens
            );
        }
        prop_assert_eq!(minimal.len(), expected_minimal);
        for name in &everyone {
            let others = everyone.iter().filter(|other| *other != name).cloned().collect();
            prop_assert_eq!(parsed.indispensable().contains(name), !naive(&text, &others));
        }
    }

    /// Without shrinking, what is left opens exactly what the others could open before.
    #[test]
    fn what_is_left_when_somebody_leaves(text in any_policy(), index in 0..6_u8, shrink in any::<bool>()) {
        let Ok(before) = text.parse::<Policy>() else { return Ok(()) };
        let gone: Name = char::from(b'a' + index).to_string().parse().unwrap();
        let left = match before.without(&gone, shrink) {
            Ok(left) => left,
            // Two parts that had differed by that name alone.
            Err(PolicyError::Twice { .. }) => return Ok(()),
            Err(other) => return Err(TestCaseError::fail(format!("{text}: {other}"))),
        };
        if let Some(left) = &left {
            prop_assert!(!left.names().contains(&gone));
            prop_assert_eq!(&left.to_string().parse::<Policy>().unwrap(), left, "{} is not canonical", left);
        }
        let others: Vec<Name> = ["a", "b", "c", "d", "e", "f"].map(|name| name.parse().unwrap()).to_vec();
        for mask in 0..64_u32 {
            let holders: BTreeSet<Name> = others
                .iter()
                .enumerate()
                .filter(|(i, name)| mask >> i & 1 == 1 && **name != gone)
                .map(|(_, name)| name.clone())
                .collect();
            let opened = before.satisfied_by(&holders);
            let opens = left.as_ref().is_some_and(|left| left.satisfied_by(&holders));
            prop_assert!(if shrink { opens || !opened } else { opens == opened }, "{} without {}: {:?}", text, gone, left);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-c0-3 ,()]{0,40}|.{0,60}|((a|b|or|and|of|2|\\(|\\)|,) ){0,20}") {
        if let Ok(parsed) = text.parse::<Policy>() {
            prop_assert_eq!(parsed.to_string().parse::<Policy>().unwrap(), parsed);
        }
    }
}
