//! Progress bars on a terminal: a line per layer, drawn over the last drawing. The cursor stays below them, so that
//! whatever ends the command leaves a tidy screen.

use std::io::{self, Write};

use corten_cri::node::{LayerPhase, LayerProgress};

use super::layers::{Layers, short};
use crate::{remote::terminal, table::size};

/// The size of a terminal that does not say.
const USUAL: (usize, usize) = (80, 24);
/// Columns that are not the bar's: digest, bytes, phase and what is between them.
const REST: usize = 12 + 2 + 2 + 18 + 2 + 13;
const BAR: usize = 40;

/// What has been drawn.
#[derive(Debug, Default)]
pub(super) struct Bars {
    lines: usize,
}

impl Bars {
    /// Draws the layers as they are now. A terminal that has gone shows nothing.
    pub(super) fn draw(&mut self, layers: &Layers) {
        let told = terminal::size_of(io::stderr());
        let (width, height) = told.map_or(USUAL, |size| (usize::from(size.width), usize::from(size.height)));
        let lines = lines(layers.all(), width, height);
        let mut text = String::new();
        if self.lines > 0 {
            text.push_str(&format!("\x1b[{}A", self.lines));
        }
        for line in &lines {
            text.push_str(&format!("\r{line}\x1b[K\n"));
        }
        // Fewer lines than before: the terminal has become smaller.
        text.push_str("\x1b[J");
        self.lines = lines.len();
        let mut terminal = io::stderr().lock();
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}

/// What to draw, in no more than this many columns and lines. Where there is no room for all layers, those under way are
/// shown, and how many are not.
fn lines(layers: &[LayerProgress], width: usize, height: usize) -> Vec<String> {
    // The cursor needs a line, and what is left out another.
    let room = height.saturating_sub(2).max(1);
    let under_way = |layer: &&LayerProgress| {
        matches!(layer.phase(), LayerPhase::Downloading | LayerPhase::Unpacking | LayerPhase::Syncing)
    };
    let shown: Vec<_> = match layers.len() <= room {
        true => layers.iter().collect(),
        false => layers.iter().filter(under_way).take(room).collect(),
    };
    let mut lines: Vec<_> = shown.iter().map(|layer| line(layer, width)).collect();
    if shown.len() < layers.len() {
        let finished = |layer: &&LayerProgress| matches!(layer.phase(), LayerPhase::Done | LayerPhase::AlreadyThere);
        let done = layers.iter().filter(finished).count();
        lines.push(cut(&format!("{done} of {} layers are there", layers.len()), width));
    }
    lines
}

fn line(layer: &LayerProgress, width: usize) -> String {
    let (digest, phase) = (short(&layer.digest), words(layer.phase()));
    let bytes = match layer.phase() {
        LayerPhase::Downloading => format!("{}/{}", size(layer.done), size(layer.total)),
        _ => size(layer.total),
    };
    let columns = width.saturating_sub(REST + 1).min(BAR);
    let bar = match layer.phase() {
        _ if columns < 5 => String::new(),
        LayerPhase::Waiting | LayerPhase::AlreadyThere => " ".repeat(columns + 4),
        _ => format!("[{}]  ", bar(layer.done, layer.total, columns)),
    };
    cut(&format!("{digest:12}  {bar}{bytes:>18}  {phase}"), width)
}

fn bar(done: u64, total: u64, columns: usize) -> String {
    let filled = u128::from(done) * columns as u128 / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or(columns).min(columns);
    format!("{}{}", "#".repeat(filled), "-".repeat(columns - filled))
}

fn words(phase: LayerPhase) -> &'static str {
    match phase {
        LayerPhase::Waiting => "waiting",
        LayerPhase::Downloading => "downloading",
        LayerPhase::Unpacking => "unpacking",
        LayerPhase::Syncing => "syncing",
        LayerPhase::Done => "done",
        LayerPhase::AlreadyThere => "already there",
    }
}

/// A line must not wrap: the next drawing begins as many lines above as were written.
fn cut(line: &str, width: usize) -> String {
    line.chars().take(width.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(phase: LayerPhase, done: u64, total: u64) -> LayerProgress {
        LayerProgress {
            digest: format!("sha256:{:064x}", 7),
            phase: phase.into(),
            done,
            total,
            ..LayerProgress::default()
        }
    }

    #[test]
    fn a_bar_is_as_full_as_the_download() {
        assert_eq!(bar(0, 100, 10), "----------");
        assert_eq!(bar(55, 100, 10), "#####-----");
        assert_eq!(bar(100, 100, 10), "##########");
        assert_eq!(bar(0, 0, 4), "----");
        assert_eq!(bar(u64::MAX, 1, 4), "####");
    }

    #[test]
    fn no_line_is_as_wide_as_the_terminal() {
        let layers = [layer(LayerPhase::Downloading, 1_500_000, 138_000_000), layer(LayerPhase::AlreadyThere, 0, 9)];
        for width in [0, 1, 20, 60, 80, 200] {
            let lines = lines(&layers, width, 24);
            assert!(lines.iter().all(|line| line.chars().count() < width.max(1)), "{width}: {lines:?}");
        }
        let line = line(&layers[0], 100);
        assert!(line.contains("1.50MB/138MB") && line.contains("downloading") && line.contains('['), "{line}");
    }

    #[test]
    fn where_there_is_no_room_those_under_way_are_shown() {
        let mut layers = vec![layer(LayerPhase::Done, 9, 9); 20];
        layers.push(layer(LayerPhase::Syncing, 9, 9));
        layers.extend(vec![layer(LayerPhase::Waiting, 0, 9); 20]);
        let lines = lines(&layers, 80, 10);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("syncing") && lines[1] == "20 of 41 layers are there", "{lines:?}");
    }
}
