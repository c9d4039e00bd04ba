//! The tables. A ratio is Keyward's median by the other's: below 1, Keyward took less. The other's own
//! median stands beside it.

use crate::inputs::Sizes;
use crate::measure::Taken;
use crate::peers::Row;

/// What is aimed at: part, step, peer, measure, and the most that the ratio may be.
type Target = (&'static str, &'static str, &'static str, &'static str, f64);
const TARGETS: [Target; 6] = [
    ("file", "seal", "age", "CPU", 0.55),
    ("file", "open", "age", "CPU", 0.55),
    ("tree", "seal", "tar, zstd -3 -T2, age", "CPU", 0.70),
    ("tree", "open", "tar, zstd -3 -T2, age", "wall", 0.50),
    ("tree", "stored", "tar, zstd -3 -T2, age", "bytes", 1.03),
    ("tree", "memory", "", "MiB", 96.0),
];

/// Prints a part's table and its targets.
pub(crate) fn print(part: &str, sizes: Sizes, rounds: usize, rows: &[Row]) {
    let what = match part {
        "file" => format!("One file, {:.0} MiB, incompressible", sizes.dense as f64 / f64::from(1 << 20)),
        "cold" => format!("The tree from a disk, {} files, {:.0} MB", sizes.files, sizes.tree as f64 / 1e6),
        "tree" => format!("A tree, {} files, {:.0} MB", sizes.files, sizes.tree as f64 / 1e6),
        _ => format!("Parts of that tree, {} files", sizes.files),
    };
    let Some((us, others)) = rows.split_first() else { return };
    say(&format!("### {what}; medians of {rounds}\n"));
    say(
        "| step | who | CPU s | Keyward by it | of that system | wall s | Keyward by it | memory MiB | stored MB | Keyward by it |",
    );
    say("|---|---|---|---|---|---|---|---|---|---|");
    for (number, (step, ours)) in us.steps.iter().enumerate() {
        let ours = median(ours);
        line(step, us.name, ours, None, us.stored, us.stored);
        for other in others {
            if let Some((_, theirs)) = other.steps.get(number) {
                line(step, other.name, median(theirs), Some(ours), other.stored, us.stored);
            }
        }
    }
    say("");
    for (of, step, peer, measure, most) in TARGETS.iter().filter(|target| target.0 == part) {
        let theirs = others.iter().find(|other| other.name == *peer);
        let found = match *step {
            "memory" => us.steps.iter().map(|(_, taken)| median(taken).memory).fold(0.0, f64::max),
            "stored" => theirs.map_or(f64::NAN, |theirs| us.stored as f64 / theirs.stored as f64),
            step => ratio(us, theirs, step, measure),
        };
        verdict(
            &format!("{of}: {step}, {measure}{}{peer}", if peer.is_empty() { "" } else { " by " }),
            found,
            *most,
        );
    }
    if part == "pick" {
        let cpu = |step| {
            us.steps.iter().find(|(name, _)| *name == step).map_or(f64::NAN, |(_, taken)| median(taken).cpu)
        };
        for step in ["list", "one file"] {
            verdict(&format!("pick: {step} by everything, CPU"), cpu(step) / cpu("everything"), 1.0 / 30.0);
        }
        let whole = us.steps.iter().find(|(name, _)| *name == "everything");
        let whole = whole.map_or(f64::NAN, |(_, taken)| median(taken).wall);
        let rate = us.stored as f64 / 1e6 / whole;
        say(&format!(
            "Opening everything passed {rate:.0} MB of archive a second, {:.0} MB of contents.",
            sizes.tree as f64 / 1e6 / whole
        ));
        for step in ["list", "one file"] {
            let wall = us
                .steps
                .iter()
                .find(|(name, _)| *name == step)
                .map_or(f64::NAN, |(_, taken)| median(taken).wall);
            say(&format!(
                "`{step}` took {:.0} ms on the wall, everything {:.0} ms.",
                wall * 1e3,
                whole * 1e3
            ));
        }
    }
    say("");
}

fn ratio(us: &Row, theirs: Option<&Row>, step: &str, measure: &str) -> f64 {
    let of = |row: &Row| {
        let taken = row.steps.iter().find(|(name, _)| *name == step).map(|(_, taken)| median(taken));
        taken.map_or(f64::NAN, |taken| if measure == "wall" { taken.wall } else { taken.cpu })
    };
    of(us) / theirs.map_or(f64::NAN, of)
}

fn verdict(what: &str, found: f64, most: f64) {
    let met = if found <= most { "met" } else { "missed" };
    say(&format!("- {what}: {found:.3}, to reach {most:.3}: {met}"));
}

fn line(step: &str, who: &str, taken: Taken, ours: Option<Taken>, stored: u64, our_stored: u64) {
    let by =
        |ours: Option<f64>, theirs: f64| ours.map_or("1".to_owned(), |ours| format!("{:.2}", ours / theirs));
    say(&format!(
        "| {step} | {who} | {:.2} | {} | {:.2} | {:.2} | {} | {:.0} | {:.1} | {} |",
        taken.cpu,
        by(ours.map(|ours| ours.cpu), taken.cpu),
        taken.system,
        taken.wall,
        by(ours.map(|ours| ours.wall), taken.wall),
        taken.memory,
        stored as f64 / 1e6,
        by(ours.map(|_| our_stored as f64), stored as f64),
    ));
}

/// The median of each measure for itself.
fn median(taken: &[Taken]) -> Taken {
    let of = |measure: fn(&Taken) -> f64| {
        let mut values: Vec<f64> = taken.iter().map(measure).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2));
        (low.copied().unwrap_or(f64::NAN) + high.copied().unwrap_or(f64::NAN)) / 2.0
    };
    Taken {
        cpu: of(|taken| taken.cpu),
        system: of(|taken| taken.system),
        wall: of(|taken| taken.wall),
        memory: of(|taken| taken.memory),
    }
}

#[allow(clippy::print_stdout, reason = "the tables are what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
