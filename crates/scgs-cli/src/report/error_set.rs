//! The error set: how large it is, its clusters with their most typical pictures, and a map of it.

use std::collections::BTreeMap;

use maud::{Markup, html};
use scgs_debias::{
    Results, RunFolder,
    stages::{clusters, errors},
};

use super::thumbnail::{self, Kind};

/// Side of a thumbnail in the map, in its own units.
const SIDE: f32 = 34.0;
/// Side of the drawn square, without the thumbnails' overhang.
const SPAN: f32 = 480.0;
/// Thumbnails per class: more would cover each other.
const MOST: usize = 80;
/// Typical pictures per cluster.
const TYPICAL: usize = 12;
/// Side of the embedded thumbnails in pixels.
const PIXELS: u32 = 56;

/// What the section shows.
pub(super) struct ErrorSet {
    size: usize,
    classes: Vec<Class>,
}

struct Class {
    name: String,
    size: usize,
    silhouette: Option<f64>,
    clusters: Vec<Cluster>,
    points: Vec<Point>,
}

struct Cluster {
    number: usize,
    size: usize,
    /// Nearest to the centre first.
    typical: Vec<(u64, String)>,
}

struct Point {
    id: u64,
    cluster: usize,
    x: f32,
    y: f32,
    thumbnail: String,
}

impl ErrorSet {
    /// Reads the clusters of a seed's folder; `None` where there are none.
    pub(super) fn read(run: &RunFolder, results: &Results) -> anyhow::Result<Option<Self>> {
        if !run.is_done(clusters::STAGE) {
            return Ok(None);
        }
        let members = clusters::members(run)?;
        let summaries: Vec<clusters::ClassSummary> =
            serde_json::from_slice(&fs_err::read(run.path(clusters::STAGE, "summary.json"))?)?;
        let range = |of: &dyn Fn(&clusters::Member) -> f32| {
            let (low, high) = members.iter().map(of).fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
            move |v: f32| if high > low { (v - low) / (high - low) * SPAN } else { SPAN / 2.0 }
        };
        let (across, down) = (range(&|m| m.x), range(&|m| m.y));
        let thumbnail = |id: u64| {
            thumbnail::embed_at(&run.path(clusters::STAGE, &format!("{id}-picture.png")), Kind::Photo, PIXELS)
        };
        let class = |(label, name): (usize, &String)| -> anyhow::Result<Class> {
            let of_class: Vec<&clusters::Member> = members.iter().filter(|m| m.label == label).collect();
            let point = |m: &&clusters::Member| {
                Ok(Point { id: m.id, cluster: m.cluster, x: across(m.x), y: down(m.y), thumbnail: thumbnail(m.id)? })
            };
            let mut by_cluster: BTreeMap<usize, Vec<&clusters::Member>> = BTreeMap::new();
            for member in &of_class {
                by_cluster.entry(member.cluster).or_default().push(member);
            }
            let cluster = |(number, mut of): (usize, Vec<&clusters::Member>)| {
                of.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.id.cmp(&b.id)));
                let size = of.len();
                of.truncate(TYPICAL);
                let typical = of.iter().map(|m| Ok((m.id, thumbnail(m.id)?))).collect::<anyhow::Result<_>>()?;
                Ok(Cluster { number, size, typical })
            };
            Ok(Class {
                name: name.clone(),
                size: of_class.len(),
                silhouette: summaries.iter().find(|s| s.label == label).and_then(|s| s.silhouette),
                clusters: by_cluster.into_iter().map(cluster).collect::<anyhow::Result<_>>()?,
                points: of_class.iter().take(MOST).map(point).collect::<anyhow::Result<_>>()?,
            })
        };
        let classes = results.classes.iter().enumerate().map(class).collect::<anyhow::Result<_>>()?;
        Ok(Some(Self { size: errors::read(run)?.len(), classes }))
    }

    /// `linked` clusters lead to the new pictures made from them.
    pub(super) fn render(&self, seed: u64, linked: bool) -> Markup {
        html! {
            p {
                (self.size) " training pictures of seed " (seed) " are mistakes: "
                @for (i, class) in self.classes.iter().enumerate() { @if i > 0 { ", " } (class.size) " of " (class.name) }
                ". They are clustered within their class by the classifier's features; a cluster is a kind of picture that misleads it in one way."
            }
            @for class in &self.classes {
                h3 { "Clusters of " (class.name) }
                @if let Some(silhouette) = class.silhouette {
                    p.quiet { "Mean silhouette " (format!("{silhouette:.2}")) " (1: apart, 0: touching). The most typical pictures come first." }
                }
                ol.strips { @for cluster in &class.clusters { li class=(format!("c{}", cluster.number % 8)) {
                    span {
                        @let name = format!("{} {}", class.name, cluster.number);
                        @if linked { a href="#to-chain" data-cluster=(name) { (name) } } @else { b { (name) } }
                        ": " (cluster.size) " picture" @if cluster.size != 1 { "s" }
                    }
                    span.row { @for (id, picture) in &cluster.typical { img src=(picture) alt=(format!("picture {id}")) title=(format!("#{id}")); } }
                } } }
            }
            h3 { "Map" }
            p { "Pictures near each other look alike to the classifier (first two principal components of its features); the frame's colour is the cluster." }
            div.maps { @for class in &self.classes { figure {
                svg viewBox=(format!("0 0 {0} {0}", SPAN + SIDE)) role="img" aria-label=(format!("map of the mistakes of class {}; the lists above hold the same", class.name)) {
                    @for p in &class.points {
                        image href=(p.thumbnail) x=(p.x) y=(p.y) width=(SIDE) height=(SIDE) {
                            title { (class.name) " #" (p.id) ", cluster " (p.cluster) }
                        }
                        rect class=(format!("frame c{}", p.cluster % 8)) x=(p.x) y=(p.y) width=(SIDE) height=(SIDE) {}
                    }
                }
                figcaption {
                    b { (class.name) } ": " (class.points.len()) " mistakes"
                    @if class.points.len() < class.size { " of " (class.size) }
                }
            } } }
        }
    }
}
