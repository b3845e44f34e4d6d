//! The image that is pulled: six layers of files that compress about as a distribution's do, the same in each run.

use std::io::{self, Write};

use corten_e2e::image::{Compression, Format, Image, Layer, busybox_config};
use flate2::{Compression as Level, write::GzEncoder};

/// The layers, lowest first: how many files, and their bytes together.
const LAYERS: [(usize, usize); 6] =
    [(300, 10 << 20), (2400, 73 << 20), (2400, 73 << 20), (2400, 73 << 20), (2400, 73 << 20), (2400, 73 << 20)];

/// How many files share a directory.
const FILES_OF_A_DIRECTORY: usize = 40;

/// How many words there are. Fewer compress better.
const WORDS: u64 = 3000;

/// One word in so many is one that there never was before.
const NEW_WORD: u64 = 5;

/// Numbers that look random and are not (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `limit`; small ones more often than large ones.
    fn small(&mut self, limit: u64) -> u64 {
        let below = 1 + self.next() % limit;
        self.next() % below
    }
}

/// The image without compression, and the bytes of its archives.
pub fn image() -> (Image, usize) {
    let mut numbers = Numbers(0x00C0_47E4_0000_0001);
    let words: Vec<Vec<u8>> = (0..WORDS).map(|_| word(&mut numbers)).collect();
    let layers: Vec<_> = LAYERS
        .iter()
        .enumerate()
        .map(|(number, &(files, bytes))| layer(number, files, bytes, &words, &mut numbers))
        .collect();
    let unpacked = layers.iter().map(Vec::len).sum();
    (Image { layers, config: busybox_config(), compression: Compression::None, format: Format::Oci }, unpacked)
}

/// The bytes that its files and directories take on disk, in blocks of 4 KiB.
pub fn on_disk(image: &Image) -> io::Result<usize> {
    let mut blocks = 0;
    for layer in &image.layers {
        for entry in tar::Archive::new(layer.as_slice()).entries()? {
            let entry = entry?;
            blocks += if entry.header().entry_type().is_dir() { 1 } else { entry.size().div_ceil(4096) };
        }
    }
    Ok(usize::try_from(blocks * 4096).unwrap_or(usize::MAX))
}

fn layer(number: usize, files: usize, bytes: usize, words: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut layer = Layer::new().dir("usr", 0o755).dir(&format!("usr/layer{number}"), 0o755);
    let mut left = bytes;
    for file in 0..files {
        let directory = format!("usr/layer{number}/dir{}", file / FILES_OF_A_DIRECTORY);
        if file % FILES_OF_A_DIRECTORY == 0 {
            layer = layer.dir(&directory, 0o755);
        }
        // Many small files and a few large ones, which come to the layer's size.
        let average = left / (files - file);
        let size = match file + 1 == files {
            true => left,
            false => usize::try_from(numbers.small(average as u64 * 4)).unwrap_or(average).min(left),
        };
        left -= size;
        layer = layer.file(&format!("{directory}/file{file}"), 0o644, &content(size, words, numbers));
    }
    layer.finish()
}

fn content(size: usize, words: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut content = Vec::with_capacity(size + 16);
    while content.len() < size {
        if numbers.next().is_multiple_of(NEW_WORD) {
            content.extend_from_slice(&numbers.next().to_le_bytes());
        } else if let Some(word) = words.get(numbers.small(WORDS) as usize) {
            content.extend_from_slice(word);
        }
    }
    content.truncate(size);
    content
}

fn word(numbers: &mut Numbers) -> Vec<u8> {
    let length = 3 + numbers.next() % 9;
    (0..length).map(|_| b'a' + (numbers.next() % 26) as u8).chain([b' ']).collect()
}

/// How the image is compressed, as those who publish images do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `gzip -6`.
    Gzip,
    /// `zstd -3`.
    Zstd,
}

impl Packing {
    /// All, with the tags of the images.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Gzip, "gzip"), (Self::Zstd, "zstd")];

    /// The media type's.
    pub fn compression(self) -> Compression {
        match self {
            Self::Gzip => Compression::Gzip,
            Self::Zstd => Compression::Zstd,
        }
    }

    /// Compresses a layer.
    pub fn pack(self, archive: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Level::new(6));
                encoder.write_all(archive)?;
                encoder.finish()
            }
            Self::Zstd => zstd::encode_all(archive, 3),
        }
    }
}
