//! One line on the terminal that says how far a download is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::failure::size;

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);

/// The progress of one file on standard error; silent where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    name: String,
    terminal: bool,
    begun: Instant,
    /// Bytes that were there at the beginning and say nothing about the rate.
    start: u64,
    shown: Option<Instant>,
}

impl Progress {
    /// Begins with `start` bytes that are already there.
    pub(super) fn new(name: &str, start: u64) -> Self {
        Self {
            name: name.to_owned(),
            terminal: std::io::stderr().is_terminal(),
            begun: Instant::now(),
            start,
            shown: None,
        }
    }

    /// Says that `done` of `total` bytes are there.
    pub(super) fn at(&mut self, done: u64, total: Option<u64>) {
        if !self.terminal || self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let text = line(&self.name, done - self.start.min(done), done, total, self.begun.elapsed());
        // A terminal that cannot be written to is no reason to stop a download.
        let _ = write!(std::io::stderr(), "\r{text:<79}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// The text: `new` bytes came in `elapsed`, `done` of `total` are there.
fn line(name: &str, new: u64, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { new as f64 / seconds } else { 0.0 };
    let of = total.map_or_else(String::new, |total| format!(" of {}", size(total)));
    let left = match total {
        Some(total) if rate >= 1.0 => {
            let left = (total.saturating_sub(done) as f64 / rate).ceil() as u64;
            format!(", {}:{:02}:{:02} left", left / 3600, left / 60 % 60, left % 60)
        }
        _ => String::new(),
    };
    format!("{name}: {}{of}, {}/s{left}", size(done), size(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_count_what_came_now() {
        let text = line("a.zip", 10_000_000, 60_000_000, Some(100_000_000), Duration::from_secs(5));
        assert_eq!(text, "a.zip: 60.0 MB of 100.0 MB, 2.0 MB/s, 0:00:20 left");
        assert_eq!(line("a", 0, 0, None, Duration::ZERO), "a: 0 B, 0 B/s");
    }
}
