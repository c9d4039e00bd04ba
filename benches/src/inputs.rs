//! What is sealed: a tree of many files of the kinds that people keep, and one dense file. The same
//! seed gives the same bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use keyward_tests::Noise;

/// How much to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Files in the tree.
    pub(crate) files: usize,
    /// Bytes in the tree, about.
    pub(crate) tree: u64,
    /// Bytes of the single file.
    pub(crate) dense: u64,
}

impl Sizes {
    /// What the published figures are of.
    pub(crate) const FULL: Self = Self { files: 80_000, tree: 1_160_000_000, dense: 2 << 30 };
    /// For a quick look at whether everything runs.
    pub(crate) const SMALL: Self = Self { files: 800, tree: 12_000_000, dense: 24 << 20 };
}

/// Files in one folder.
const FOLDER: usize = 40;

/// Has the system drop what it remembers of a tree's files, so that they come from the disk again. All of it if that is
/// allowed (root on Linux), else their contents alone.
pub(crate) fn forget(tree: &Path) -> Result<()> {
    rustix::fs::sync();
    if fs::write("/proc/sys/vm/drop_caches", "3").is_ok() { Ok(()) } else { forget_contents(tree) }
}

fn forget_contents(tree: &Path) -> Result<()> {
    for entry in fs::read_dir(tree)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_contents(&path)?;
        } else {
            rustix::fs::fadvise(File::open(&path)?, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Makes the tree: files of a few hundred bytes to some hundred KiB, most of them small, in
/// folders of 40; of ten files four are prose or code, three are records, two are
/// compressed already as pictures are, one is sparse with numbers.
pub(crate) fn tree(at: &Path, sizes: Sizes) -> Result<()> {
    let mut noise = Noise::new(5);
    let words = words(&mut noise);
    // Lengths first, so that they can be scaled to the sum.
    let shape: Vec<f64> = (0..sizes.files).map(|_| length(&mut noise)).collect();
    let scale = sizes.tree as f64 / shape.iter().sum::<f64>();
    let mut contents = Vec::new();
    for (number, length) in shape.iter().enumerate() {
        let folder = at.join(format!("area-{:02}/set-{:04}", number / FOLDER % 40, number / FOLDER));
        if number % FOLDER == 0 {
            fs::create_dir_all(&folder)?;
        }
        let (length, kind) = ((length * scale) as usize, number % 10);
        contents.clear();
        while contents.len() < length {
            match kind {
                0..=3 => prose(&mut noise, &words, &mut contents),
                4..=6 => record(&mut noise, &words, &mut contents),
                7 | 8 => {
                    let start = contents.len();
                    contents.resize(length, 0);
                    noise.fill(contents.get_mut(start..).unwrap_or_default());
                }
                _ => numbers(&mut noise, &mut contents),
            }
        }
        contents.truncate(length);
        let name = [
            "notes.txt",
            "main.rs",
            "page.html",
            "readme.md",
            "rows.csv",
            "log.json",
            "data.xml",
            "photo.jpg",
            "song.ogg",
            "table.bin",
        ];
        let name = name.get(kind).copied().unwrap_or_default();
        fs::write(folder.join(format!("{number:05}-{name}")), &contents)?;
    }
    Ok(())
}

/// Makes the single file: bytes that do not compress, as a disk image of media or a backup is.
pub(crate) fn dense(at: &Path, sizes: Sizes) -> Result<()> {
    let mut file = File::create(at)?;
    Noise::new(9).write(&mut file, sizes.dense)?;
    file.flush()?;
    Ok(())
}

/// A length with a long tail, of no unit.
fn length(noise: &mut Noise) -> f64 {
    // The sum of twelve is as good as normal; its exponential is how lengths of files lie.
    let normal: f64 = (0..12).map(|_| noise.below(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0;
    (1.3 * normal).exp()
}

fn words(noise: &mut Noise) -> Vec<String> {
    let syllables =
        ["ka", "ro", "mi", "ten", "sol", "va", "ner", "il", "ust", "de", "pra", "on", "lis", "che"];
    (0..4000)
        .map(|_| {
            (0..=noise.below(4))
                .map(|_| syllables.get(noise.below(14)).copied().unwrap_or_default())
                .collect()
        })
        .collect()
}

fn word<'a>(noise: &mut Noise, words: &'a [String]) -> &'a str {
    // Few words are frequent, most are rare.
    let most = noise.below(words.len()) + 1;
    words.get(noise.below(most)).map_or("", String::as_str)
}

fn prose(noise: &mut Noise, words: &[String], out: &mut Vec<u8>) {
    for _ in 0..8 + noise.below(12) {
        out.extend_from_slice(word(noise, words).as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(b".\n");
}

fn record(noise: &mut Noise, words: &[String], out: &mut Vec<u8>) {
    let line = format!(
        "{{\"id\":{},\"name\":\"{}\",\"place\":\"{}\",\"value\":{}.{:02},\"ok\":{}}}\n",
        noise.below(1_000_000),
        word(noise, words),
        word(noise, words),
        noise.below(10_000),
        noise.below(100),
        noise.below(2) == 0,
    );
    out.extend_from_slice(line.as_bytes());
}

fn numbers(noise: &mut Noise, out: &mut Vec<u8>) {
    for _ in 0..16 {
        out.extend_from_slice(&(noise.below(5000) as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
}
