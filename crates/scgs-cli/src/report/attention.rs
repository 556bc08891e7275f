//! Where ERM and SCGS look in the same mistakes.

use maud::{Markup, html};
use scgs_debias::{Results, RunFolder, stages::chain};

use super::thumbnail::{self, Kind};

/// A mistake and both maps, as `data:` addresses.
pub(super) struct Pair {
    id: u64,
    class: String,
    picture: String,
    before: String,
    after: String,
}

pub(super) fn read(run: &RunFolder, results: &Results) -> anyhow::Result<Vec<Pair>> {
    let pair = |looked: &chain::Looked| {
        let file =
            |what: &str, kind| thumbnail::embed(&run.path(chain::STAGE, &format!("{}-{what}.png", looked.id)), kind);
        Ok(Pair {
            id: looked.id,
            class: results.classes.get(looked.label).cloned().unwrap_or_else(|| looked.label.to_string()),
            picture: file("picture", Kind::Photo)?,
            before: file("erm", Kind::Map)?,
            after: file("scgs", Kind::Map)?,
        })
    };
    chain::looked(run)?.iter().map(pair).collect()
}

pub(super) fn render(pairs: &[Pair]) -> Markup {
    html! {
        p {
            "The same way of looking, at the plain classifier (ERM) and at the one trained with the new pictures (SCGS), in " (pairs.len())
            " mistakes drawn at random by the run's seed. With frozen features only the last layer differs, so the maps move little."
        }
        ul.pairs { @for pair in pairs { li {
            div.three {
                span { img src=(pair.picture) alt=(format!("training picture {} of class {}", pair.id, pair.class)); }
                (over(pair, &pair.before, "ERM"))
                (over(pair, &pair.after, "SCGS"))
            }
            small { (pair.class) " #" (pair.id) ": picture, ERM, SCGS" }
        } } }
    }
}

fn over(pair: &Pair, map: &str, who: &str) -> Markup {
    html! {
        span.attention {
            img.under src=(pair.picture) alt="";
            img src=(map) alt=(format!("where {who} looks"));
        }
    }
}
