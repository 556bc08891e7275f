//! The error set as a map: thumbnails at the first two principal components of their features, framed by cluster.

use std::path::Path;

use image::imageops::{FilterType, resize};
use maud::{Markup, html};
use scgs_debias::{Results, RunFolder, stages::clusters};

use super::chain::{embed, open};

/// Side of a thumbnail in the map, in its own units.
const SIDE: f32 = 34.0;
/// Side of the drawn square, without the thumbnails' overhang.
const SPAN: f32 = 480.0;
/// Thumbnails per class: more would cover each other.
const MOST: usize = 80;

/// A map per class.
pub(crate) struct Map {
    classes: Vec<(String, Vec<Point>)>,
}

struct Point {
    id: u64,
    cluster: usize,
    x: f32,
    y: f32,
    thumbnail: String,
}

impl Map {
    /// Reads the clusters of a seed's folder; `None` where there are none.
    pub(crate) fn read(run: &RunFolder, results: &Results) -> anyhow::Result<Option<Self>> {
        if !run.is_done(clusters::STAGE) {
            return Ok(None);
        }
        let members = clusters::members(run)?;
        let range = |of: &dyn Fn(&clusters::Member) -> f32| {
            let (low, high) = members.iter().map(of).fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
            move |v: f32| if high > low { (v - low) / (high - low) * SPAN } else { SPAN / 2.0 }
        };
        let (across, down) = (range(&|m| m.x), range(&|m| m.y));
        let classes = results.classes.iter().enumerate().map(|(label, name)| {
            let points = members.iter().filter(|m| m.label == label).take(MOST).map(|m| {
                let file = run.path(clusters::STAGE, &format!("{}-picture.png", m.id));
                let thumbnail = thumbnail(&file)?;
                Ok(Point { id: m.id, cluster: m.cluster, x: across(m.x), y: down(m.y), thumbnail })
            });
            Ok((name.clone(), points.collect::<anyhow::Result<_>>()?))
        });
        Ok(Some(Self { classes: classes.collect::<anyhow::Result<_>>()? }))
    }

    /// The maps side by side.
    pub(crate) fn render(&self) -> Markup {
        html! {
            h2 { "The error set" }
            p { "Pictures near each other look alike to the classifier (first two principal components of its features); the frame's colour is the cluster, counted within the class." }
            div.maps { @for (name, points) in &self.classes {
                figure {
                    svg viewBox=(format!("0 0 {0} {0}", SPAN + SIDE)) role="img" aria-label=(format!("mistakes of class {name}")) {
                        @for p in points {
                            image href=(p.thumbnail) x=(p.x) y=(p.y) width=(SIDE) height=(SIDE) {
                                title { (name) " #" (p.id) ", cluster " (p.cluster) }
                            }
                            rect class=(format!("frame c{}", p.cluster % 8)) x=(p.x) y=(p.y) width=(SIDE) height=(SIDE) {}
                        }
                    }
                    figcaption { b { (name) } ": " (points.len()) " mistakes" }
                }
            } }
        }
    }
}

fn thumbnail(path: &Path) -> anyhow::Result<String> {
    let picture = open(path)?.to_rgb8();
    embed(&resize(&picture, 48, 48, FilterType::Triangle))
}
