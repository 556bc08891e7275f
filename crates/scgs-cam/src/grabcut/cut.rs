//! Minimum s-t cut of a grid: Boykov and Kolmogorov, "An experimental comparison of min-cut/max-flow algorithms for energy
//! minimization in vision", PAMI 2004. Two search trees, one from each terminal, grow until they touch; the path found
//! is saturated; nodes that lost their way to a terminal look for another.
//!
//! Neighbours follow from places, so nothing but capacities is stored of the arcs: most of the time goes into waiting for memory.

use std::collections::VecDeque;

/// Neighbours of a pixel: left, upper left, above, upper right, right, lower left, below, lower right.
const NEIGHBOURS: usize = 8;
/// The direction back.
const BACK: [u8; NEIGHBOURS] = [4, 7, 6, 5, 0, 3, 2, 1];

/// Which terminal a node hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    Source,
    Sink,
}

/// How a node hangs on its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// In no tree.
    Free,
    /// Directly on the terminal.
    Terminal,
    /// On the neighbour in this direction.
    Neighbour(u8),
    /// Cut off; being looked after.
    Orphan,
}

#[derive(Debug, Clone)]
struct Node {
    /// What is left of the node's link to the source (positive) or to the sink (negative).
    pull: f64,
    /// Steps to the terminal, valid as of `checked`.
    distance: u32,
    checked: u32,
    tree: Tree,
    parent: Parent,
    active: bool,
}

/// A flow network: one node per pixel with a pull to one of the terminals, and around them a frame of nodes that are never
/// reached. Arc `8 * node + direction` leads to a neighbour.
#[derive(Debug)]
pub(super) struct Network {
    nodes: Vec<Node>,
    /// What every arc can still carry.
    room: Vec<f64>,
    /// How far in `nodes` a neighbour is, wrapping.
    steps: [usize; NEIGHBOURS],
    size: [usize; 2],
    active: VecDeque<usize>,
    orphans: Vec<usize>,
    round: u32,
    /// The arcs of the last path, from the bridge to the source and to the sink.
    paths: [Vec<usize>; 2],
}

impl Network {
    /// `pull` has one number per pixel, row by row (positive: to the source); `borders` the capacities, both ways, to the left, upper
    /// left, upper and upper right neighbour, 0 where there is none.
    pub(super) fn new(width: usize, pull: &[f64], borders: &[[f64; 4]]) -> Self {
        let height = pull.len() / width;
        let pitch = width + 2;
        let back = |distance: usize| distance.wrapping_neg();
        let steps = [back(1), back(pitch + 1), back(pitch), back(pitch - 1), 1, pitch - 1, pitch, pitch + 1];
        let free = Node { pull: 0.0, distance: 1, checked: 0, tree: Tree::Source, parent: Parent::Free, active: false };
        let mut network = Self {
            nodes: vec![free; pitch * (height + 2)],
            room: vec![0.0; NEIGHBOURS * pitch * (height + 2)],
            steps,
            size: [height, width],
            active: VecDeque::with_capacity(pull.len()),
            orphans: Vec::new(),
            round: 0,
            paths: [Vec::new(), Vec::new()],
        };
        let places = network.places();
        for ((at, &pull), borders) in places.zip(pull).zip(borders) {
            for (direction, &capacity) in borders.iter().enumerate() {
                let arc = at * NEIGHBOURS + direction;
                let reverse = network.reverse(arc);
                network.room[arc] = capacity;
                network.room[reverse] = capacity;
            }
            if pull != 0.0 {
                let node = &mut network.nodes[at];
                (node.pull, node.parent, node.active) = (pull, Parent::Terminal, true);
                node.tree = if pull < 0.0 { Tree::Sink } else { Tree::Source };
                network.active.push_back(at);
            }
        }
        network
    }

    /// The nodes of the pixels, row by row.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let [height, width] = self.size;
        (0..height).flat_map(move |y| (0..width).map(move |x| (y + 1) * (width + 2) + x + 1))
    }

    /// The pixels on the source's side of a minimum cut, row by row.
    pub(super) fn source_side(mut self) -> Vec<bool> {
        while let Some(bridge) = self.grow() {
            self.augment(bridge);
            self.round += 1;
            while let Some(orphan) = self.orphans.pop() {
                self.adopt(orphan);
            }
        }
        let of_source = |node: &Node| node.tree == Tree::Source && node.parent != Parent::Free;
        self.places().map(|at| of_source(&self.nodes[at])).collect()
    }

    /// Where an arc ends.
    fn end(&self, arc: usize) -> usize {
        (arc / NEIGHBOURS).wrapping_add(self.steps[arc % NEIGHBOURS])
    }

    /// The arc of the opposite direction.
    fn reverse(&self, arc: usize) -> usize {
        self.end(arc) * NEIGHBOURS + usize::from(BACK[arc % NEIGHBOURS])
    }

    fn arcs_of(node: usize) -> std::ops::Range<usize> {
        node * NEIGHBOURS..(node + 1) * NEIGHBOURS
    }

    /// What can still flow along an arc in the direction from the source to the sink, if the arc leads away from the
    /// terminal of `tree`.
    fn room_outward(&self, arc: usize, tree: Tree) -> f64 {
        self.room[if tree == Tree::Source { arc } else { self.reverse(arc) }]
    }

    fn activate(&mut self, node: usize) {
        if !self.nodes[node].active {
            self.nodes[node].active = true;
            self.active.push_back(node);
        }
    }

    /// Grows the trees until they touch; the arc between them, from the source's tree to the sink's.
    fn grow(&mut self) -> Option<usize> {
        while let Some(&from) = self.active.front() {
            if self.nodes[from].parent != Parent::Free {
                let Node { tree, distance, checked, .. } = self.nodes[from];
                for arc in Self::arcs_of(from) {
                    if self.room_outward(arc, tree) == 0.0 {
                        continue;
                    }
                    let end = self.end(arc);
                    let back = Parent::Neighbour(BACK[arc % NEIGHBOURS]);
                    let to = &mut self.nodes[end];
                    if to.parent == Parent::Free {
                        (to.tree, to.parent, to.distance, to.checked) = (tree, back, distance + 1, checked);
                        self.activate(end);
                    } else if to.tree != tree {
                        return Some(if tree == Tree::Source { arc } else { self.reverse(arc) });
                    } else if to.distance > distance + 1 && to.checked <= checked {
                        // A shorter way to the terminal.
                        (to.parent, to.distance, to.checked) = (back, distance + 1, checked);
                    }
                }
            }
            self.active.pop_front();
            self.nodes[from].active = false;
        }
        None
    }

    /// The arcs from `node` to its terminal into `arcs`; the last node.
    fn path(&self, mut node: usize, arcs: &mut Vec<usize>) -> usize {
        arcs.clear();
        while let Parent::Neighbour(direction) = self.nodes[node].parent {
            let arc = node * NEIGHBOURS + usize::from(direction);
            arcs.push(arc);
            node = self.end(arc);
        }
        node
    }

    /// Sends what the path over `bridge` can carry; nodes behind a full arc become orphans.
    fn augment(&mut self, bridge: usize) {
        // A parent arc points to the terminal: against the flow in the source's tree, with it in the sink's.
        let [mut source_arcs, mut sink_arcs] = std::mem::take(&mut self.paths);
        let source_end = self.path(bridge / NEIGHBOURS, &mut source_arcs);
        source_arcs.iter_mut().for_each(|arc| *arc = self.reverse(*arc));
        let sink_end = self.path(self.end(bridge), &mut sink_arcs);
        let along = || source_arcs.iter().chain(&sink_arcs).chain([&bridge]).copied();
        let ends = [source_end, sink_end];
        let rooms = along().map(|arc| self.room[arc]);
        let flow = rooms.chain(ends.iter().map(|&n| self.nodes[n].pull.abs())).fold(f64::INFINITY, f64::min);
        for arc in along() {
            let reverse = self.reverse(arc);
            self.room[arc] -= flow;
            self.room[reverse] += flow;
        }
        for &arc in source_arcs.iter().filter(|&&arc| self.room[arc] == 0.0) {
            self.orphans.push(self.end(arc));
        }
        for &arc in sink_arcs.iter().filter(|&&arc| self.room[arc] == 0.0) {
            self.orphans.push(arc / NEIGHBOURS);
        }
        for end in ends {
            let node = &mut self.nodes[end];
            node.pull -= flow.copysign(node.pull);
            if node.pull == 0.0 {
                self.orphans.push(end);
            }
        }
        for &orphan in &self.orphans {
            self.nodes[orphan].parent = Parent::Orphan;
        }
        self.paths = [source_arcs, sink_arcs];
    }

    /// Finds an orphan another parent in its tree, the one nearest to the terminal, or sets it and its children free.
    fn adopt(&mut self, orphan: usize) {
        let tree = self.nodes[orphan].tree;
        let mut best: Option<(u32, usize)> = None;
        for arc in Self::arcs_of(orphan) {
            let candidate = self.end(arc);
            let Node { tree: other, parent, .. } = self.nodes[candidate];
            // The flow runs from parent to child in the source's tree, from child to parent in the sink's.
            if other != tree || parent == Parent::Free || self.room_inward(arc, tree) == 0.0 {
                continue;
            }
            if let Some(distance) = self.distance_to_terminal(candidate)
                && best.is_none_or(|(nearest, _)| distance < nearest)
            {
                best = Some((distance, arc));
            }
        }
        if let Some((distance, arc)) = best {
            let round = self.round;
            let node = &mut self.nodes[orphan];
            let parent = Parent::Neighbour((arc % NEIGHBOURS) as u8);
            (node.parent, node.distance, node.checked) = (parent, distance + 1, round);
            return;
        }
        self.nodes[orphan].parent = Parent::Free;
        self.nodes[orphan].checked = 0;
        for arc in Self::arcs_of(orphan) {
            let neighbour = self.end(arc);
            let Node { tree: other, parent, .. } = self.nodes[neighbour];
            if other != tree || parent == Parent::Free {
                continue;
            }
            if self.room_inward(arc, tree) != 0.0 {
                self.activate(neighbour);
            }
            if parent == Parent::Neighbour(BACK[arc % NEIGHBOURS]) {
                self.nodes[neighbour].parent = Parent::Orphan;
                self.orphans.push(neighbour);
            }
        }
    }

    /// [`Self::room_outward`] of the arc of the opposite direction.
    fn room_inward(&self, arc: usize, tree: Tree) -> f64 {
        self.room[if tree == Tree::Source { self.reverse(arc) } else { arc }]
    }

    /// Steps from a node to its terminal, or `None` when an orphan lies in between. Marks the nodes on the way as
    /// checked in this round.
    fn distance_to_terminal(&mut self, start: usize) -> Option<u32> {
        let (mut node, mut steps) = (start, 0);
        let distance = loop {
            if self.nodes[node].checked == self.round {
                break steps + self.nodes[node].distance;
            }
            match self.nodes[node].parent {
                Parent::Neighbour(direction) => {
                    steps += 1;
                    node = node.wrapping_add(self.steps[usize::from(direction)]);
                }
                Parent::Terminal => {
                    self.nodes[node].checked = self.round;
                    self.nodes[node].distance = 1;
                    break steps + 1;
                }
                Parent::Orphan | Parent::Free => return None,
            }
        };
        let (mut node, mut left) = (start, distance);
        while self.nodes[node].checked != self.round {
            self.nodes[node].checked = self.round;
            self.nodes[node].distance = left;
            left -= 1;
            if let Parent::Neighbour(direction) = self.nodes[node].parent {
                node = node.wrapping_add(self.steps[usize::from(direction)]);
            }
        }
        Some(distance)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The pairs of neighbours with their capacities.
    fn edges(width: usize, borders: &[[f64; 4]]) -> Vec<(usize, usize, f64)> {
        let back = [1, width + 1, width, width - 1];
        let pairs =
            borders.iter().enumerate().flat_map(|(at, of)| of.iter().zip(back).map(move |(&c, back)| (at, back, c)));
        pairs.filter(|pair| pair.2 > 0.0).map(|(at, back, capacity)| (at, at - back, capacity)).collect()
    }

    fn cost(pull: &[f64], edges: &[(usize, usize, f64)], source: &[bool]) -> f64 {
        let links = pull.iter().zip(source).map(|(&p, &s)| if s { (-p).max(0.0) } else { p.max(0.0) });
        links.sum::<f64>() + edges.iter().filter(|e| source[e.0] != source[e.1]).map(|e| e.2).sum::<f64>()
    }

    /// Integer capacities make ties and saturated paths common.
    #[test]
    fn no_other_cut_is_cheaper() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for case in 0..500 {
            let (width, height) = (1 + case % 4, 1 + case / 4 % 3);
            let pull: Vec<f64> = (0..width * height).map(|_| f64::from(rng.random_range(-6..=6i32))).collect();
            let borders: Vec<[f64; 4]> = (0..pull.len())
                .map(|at| {
                    let (x, y) = (at % width, at / width);
                    let inside = [x > 0, x > 0 && y > 0, y > 0, x + 1 < width && y > 0];
                    inside.map(|inside| if inside { f64::from(rng.random_range(0..=5i32)) } else { 0.0 })
                })
                .collect();
            let edges = edges(width, &borders);
            let found = cost(&pull, &edges, &Network::new(width, &pull, &borders).source_side());
            let best = (0..1u32 << pull.len())
                .map(|set| cost(&pull, &edges, &(0..pull.len()).map(|n| set >> n & 1 == 1).collect::<Vec<_>>()))
                .fold(f64::INFINITY, f64::min);
            assert_eq!(found, best, "case {case}: {pull:?} {edges:?}");
        }
    }
}
