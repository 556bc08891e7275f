//! What a person sees on standard error while a run goes on: a bar per stage, a line per finished stage.

use std::{
    fmt,
    io::Write as _,
    sync::{Mutex, OnceLock},
};

use indicatif::{ProgressState, ProgressStyle};
use scgs_debias::Event;
use tracing::Span;
use tracing_indicatif::{IndicatifLayer, span_ext::IndicatifSpanExt as _, writer};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

static QUIET: OnceLock<bool> = OnceLock::new();
/// The bar of the stage under way. Dropping the span takes the bar off the screen.
static CURRENT: Mutex<Option<Span>> = Mutex::new(None);

/// Sends log lines (`SCGS_LOG`, warnings by default) and bars to standard error; bars hide when that is no terminal.
pub(crate) fn init(quiet: bool) {
    QUIET.get_or_init(|| quiet);
    let bars = IndicatifLayer::new();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(bars.get_stderr_writer()).without_time().with_target(false);
    let level = EnvFilter::try_from_env("SCGS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let only_stages = tracing_subscriber::filter::filter_fn(|metadata| metadata.name() == "stage");
    let bars = (!quiet).then(|| bars.with_filter(only_stages));
    tracing_subscriber::registry().with(lines.with_filter(level)).with(bars).init();
}

/// Writes a line that the bars do not overwrite. A closed standard error is no reason to stop a run.
pub(crate) fn line(text: &str) {
    let _ = match writer::get_indicatif_stderr_writer() {
        Some(mut stderr) => writeln!(stderr, "{text}"),
        None => writeln!(std::io::stderr(), "{text}"),
    };
}

/// Writes an error and the line that says where to look next; `NO_COLOR`, a pipe and a dumb terminal get no colours.
pub(crate) fn error(message: &str, hint: Option<&str>) {
    let choice = anstream::AutoStream::choice(&std::io::stderr());
    let paint = |style: &str, word: &str| match choice {
        anstream::ColorChoice::Never => word.to_owned(),
        _ => format!("\x1b[{style}m{word}\x1b[0m"),
    };
    line(&format!("{} {message}", paint("1;31", "error:")));
    if let Some(hint) = hint {
        line(&format!("{} {hint}", paint("1;36", "hint:")));
    }
}

/// A line that `--quiet` leaves out.
pub(crate) fn notice(text: &str) {
    if !QUIET.get().copied().unwrap_or(false) {
        line(text);
    }
}

/// Shows an event of a run.
pub(crate) fn show(event: Event) {
    let mut current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match event {
        Event::Started { stage, total } => {
            let span = tracing::info_span!("stage");
            span.pb_set_style(&style(total));
            span.pb_set_message(&stage);
            span.pb_set_length(total as u64);
            span.pb_start();
            *current = Some(span);
        }
        Event::Opened { .. } => {}
        Event::Notice { text } => notice(&format!("  note: {text}")),
        Event::Advanced { done } => {
            if let Some(span) = current.as_ref() {
                span.pb_set_position(done as u64);
            }
        }
        Event::Finished { stage, summary, seconds, reused } => {
            *current = None;
            let time = if reused { "kept".to_owned() } else { format!("{seconds:.1} s") };
            notice(&format!("  {stage:<26} {time:>8}  {summary}"));
        }
    }
}

fn style(total: usize) -> ProgressStyle {
    let template = if total == 0 {
        "  {msg:<26} {spinner} {elapsed}"
    } else {
        "  {msg:<26} [{bar:30}] {pos}/{len}  {rate}  {eta} left"
    };
    // indicatif's own rate has four decimals.
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.1}/s", state.per_sec());
    };
    ProgressStyle::with_template(template)
        .expect("the template is constant")
        .with_key("rate", rate)
        .progress_chars("=> ")
}
