//! Who does which task how. Everybody gets the same input and a place for the result, in turn, round
//! after round; what was opened is compared with the input in the first round.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::inputs::{self, Sizes};
use crate::measure::{self, Taken};
use crate::table;

/// What to run.
pub(crate) struct Plan {
    pub(crate) small: bool,
    pub(crate) rounds: usize,
    pub(crate) folder: PathBuf,
    /// One of [`PARTS`]; all but `cold` if absent.
    pub(crate) only: Option<String>,
}

/// What can be measured. `cold` is for a folder on a disk: what lies in memory is never cold.
pub(crate) const PARTS: [&str; 4] = ["file", "tree", "pick", "cold"];

/// One who takes part, and scripts in bash for each step.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Not measured, before each round.
    prepare: &'static str,
    /// Named steps that are measured.
    steps: Vec<(&'static str, &'static str)>,
    /// The step after which there is a result to compare, and the way to it.
    opened: Option<(&'static str, &'static str)>,
    /// What is stored after the first step.
    stored: &'static str,
}

/// What one contender took, step by step, in all rounds.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<(&'static str, Vec<Taken>)>,
    /// Bytes stored.
    pub(crate) stored: u64,
}

/// Commands and variables that the scripts use.
const WORDS: &str = r#"
us() { "$KEYWARD_BENCH_US" us "$@"; }
age() { "$KEYWARD_BENCH_AGE" "$@"; }
rage() { "$KEYWARD_BENCH_RAGE" "$@"; }
restic() { "$KEYWARD_BENCH_RESTIC" --quiet --no-cache --repo repo "$@"; }
rclone() { "$KEYWARD_BENCH_RCLONE" --config /dev/null "$@"; }
"#;

fn file() -> Vec<Contender> {
    vec![
        Contender {
            name: "keyward",
            prepare: "",
            steps: vec![("seal", "us seal us.age dense"), ("open", "us open-file us.age out")],
            opened: Some(("open", "cmp dense out")),
            stored: "us.age",
        },
        Contender {
            name: "age",
            prepare: "",
            steps: vec![
                ("seal", r#"age -r "$TO" -o age.age dense"#),
                ("open", "age -d -i id.txt -o out age.age"),
            ],
            opened: Some(("open", "cmp dense out")),
            stored: "age.age",
        },
        Contender {
            name: "rage",
            prepare: "",
            steps: vec![
                ("seal", r#"rage -r "$TO" -o rage.age dense"#),
                ("open", "rage -d -i id.txt -o out rage.age"),
            ],
            opened: Some(("open", "cmp dense out")),
            stored: "rage.age",
        },
        Contender {
            name: "restic",
            prepare: "restic init",
            steps: vec![("seal", "restic backup dense"), ("open", "restic restore latest --target out")],
            opened: Some(("open", r#"cmp dense "$(find out -name dense)""#)),
            stored: "repo",
        },
        Contender {
            name: "rclone crypt",
            prepare: "",
            steps: vec![("seal", "rclone copy dense sealed:"), ("open", "rclone copy sealed:dense out")],
            opened: Some(("open", "cmp dense out/dense")),
            stored: "crypt",
        },
    ]
}

fn tree() -> Vec<Contender> {
    vec![
        Contender {
            name: "keyward",
            prepare: "",
            steps: vec![("seal", "us seal us.age tree"), ("open", "us open us.age out")],
            opened: Some(("open", "diff -r tree out/tree")),
            stored: "us.age",
        },
        Contender {
            name: "tar, zstd -3 -T2, age",
            prepare: "",
            steps: vec![
                ("seal", r#"tar -cf - tree | zstd -q -3 -T2 | age -r "$TO" -o pipe.age"#),
                ("open", "mkdir out; age -d -i id.txt pipe.age | zstd -q -d | tar -xf - -C out"),
            ],
            opened: Some(("open", "diff -r tree out/tree")),
            stored: "pipe.age",
        },
        Contender {
            name: "restic",
            prepare: "restic init",
            steps: vec![("seal", "restic backup tree"), ("open", "restic restore latest --target out")],
            opened: Some(("open", r#"diff -r tree "$(find out -maxdepth 9 -type d -name tree)""#)),
            stored: "repo",
        },
        Contender {
            name: "rclone crypt",
            prepare: "",
            steps: vec![
                ("seal", "rclone copy tree sealed:tree"),
                ("open", "rclone copy sealed:tree out/tree"),
            ],
            opened: Some(("open", "diff -r tree out/tree")),
            stored: "crypt",
        },
    ]
}

/// The tree from a disk, where nobody has read it of late.
fn cold() -> Vec<Contender> {
    let mut contenders = tree();
    for contender in &mut contenders {
        contender.steps.truncate(1);
        contender.opened = None;
    }
    contenders
}

fn pick() -> Vec<Contender> {
    vec![
        Contender {
            name: "keyward",
            prepare: "us seal us.age tree",
            steps: vec![
                ("list", "us ls us.age >list"),
                ("one file", r#"us cat us.age "$ONE" >one"#),
                ("everything", "us open us.age out"),
            ],
            opened: Some(("one file", r#"cmp one "$ONE""#)),
            stored: "us.age",
        },
        Contender {
            name: "tar, zstd -3 -T2, age",
            prepare: r#"tar -cf - tree | zstd -q -3 -T2 | age -r "$TO" -o pipe.age"#,
            steps: vec![
                ("list", "age -d -i id.txt pipe.age | zstd -q -d | tar -tf - >list"),
                ("one file", r#"age -d -i id.txt pipe.age | zstd -q -d | tar -xOf - "$ONE" >one"#),
                ("everything", "mkdir out; age -d -i id.txt pipe.age | zstd -q -d | tar -xf - -C out"),
            ],
            opened: Some(("one file", r#"cmp one "$ONE""#)),
            stored: "pipe.age",
        },
        Contender {
            name: "restic",
            prepare: "restic init; restic backup tree",
            steps: vec![
                ("list", "restic ls latest >list"),
                ("one file", r#"restic dump latest "/$ONE" >one"#),
                ("everything", "restic restore latest --target out"),
            ],
            opened: Some(("one file", r#"cmp one "$ONE""#)),
            stored: "repo",
        },
    ]
}

/// Makes the inputs, runs the rounds and prints the tables.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let sizes = if plan.small { Sizes::SMALL } else { Sizes::FULL };
    let room = tempfile::Builder::new().prefix("keyward-benches-").tempdir_in(&plan.folder)?;
    // Only what the shell does itself: whatever runs here is measured with each step.
    let setup = format!(
        "{WORDS}\n\
        export KEYWARD_BENCH_US={us:?} RESTIC_PASSWORD=benches\n\
        export RCLONE_CONFIG_SEALED_TYPE=crypt RCLONE_CONFIG_SEALED_REMOTE=\"$PWD/crypt\"\n\
        export RCLONE_CONFIG_SEALED_PASSWORD=\"$(<obscured)\"\n\
        TO=$(<to.txt) ONE=$(<one.txt)\n",
        us = std::env::current_exe()?,
    );
    let keys = "\"$KEYWARD_BENCH_AGE\"-keygen -o id.txt 2>/dev/null\n\
        sed -n 's/^# public key: //p' id.txt >to.txt\n\
        rclone obscure benches >obscured; : >one.txt";
    measure::aside(&format!("{WORDS}\n{keys}"), room.path())?;
    for (part, contenders) in [("file", file()), ("tree", tree()), ("pick", pick()), ("cold", cold())] {
        if plan.only.as_deref().map_or(part == "cold", |only| only != part) {
            continue;
        }
        if part == "file" {
            inputs::dense(&room.path().join("dense"), sizes)?;
        } else if !room.path().join("tree").exists() {
            inputs::tree(&room.path().join("tree"), sizes)?;
            // One file from the middle of the tree.
            measure::aside("find tree -type f -size +2k | sort | sed -n 201p >one.txt", room.path())?;
        }
        let rows = rounds(part, &contenders, plan, &setup, room.path())?;
        table::print(part, sizes, plan.rounds, &rows);
        if part == "file" {
            std::fs::remove_file(room.path().join("dense"))?;
        }
    }
    Ok(())
}

fn rounds(part: &str, contenders: &[Contender], plan: &Plan, setup: &str, room: &Path) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = contenders
        .iter()
        .map(|contender| Row {
            name: contender.name,
            steps: contender.steps.iter().map(|(step, _)| (*step, Vec::new())).collect(),
            stored: 0,
        })
        .collect();
    // The first round is not counted: what was opened is compared there, and a virtual machine's memory costs whoever
    // is the first to use it.
    for round in 0..=plan.rounds {
        for (contender, row) in contenders.iter().zip(&mut rows) {
            measure::aside(&format!("{setup}\n{}", contender.prepare), room)?;
            if part == "cold" {
                inputs::forget(&room.join("tree"))?;
            }
            for ((step, script), (_, taken)) in contender.steps.iter().zip(&mut row.steps) {
                let took = measure::script(&format!("{setup}\n{script}"), room)?;
                if round > 0 {
                    taken.push(took);
                }
                if *step == "seal" || row.stored == 0 {
                    row.stored = stored(&room.join(contender.stored))?;
                }
                if let Some((after, check)) = contender.opened
                    && after == *step
                    && round == 0
                {
                    measure::aside(&format!("{setup}\n{check}"), room)
                        .with_context(|| format!("{} did not give back what it was given", contender.name))?;
                }
            }
            measure::aside(
                "rm -rf -- us.age us.blake3 age.age rage.age pipe.age repo crypt out list one",
                room,
            )?;
        }
    }
    Ok(rows)
}

/// Bytes in a file, or in all files of a folder.
fn stored(at: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(at)?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let mut sum = 0;
    for entry in std::fs::read_dir(at)? {
        sum += stored(&entry?.path())?;
    }
    Ok(sum)
}
