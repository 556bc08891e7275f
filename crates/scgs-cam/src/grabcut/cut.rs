//! Minimum s-t cut: Boykov and Kolmogorov, "An experimental comparison of min-cut/max-flow algorithms for energy
//! minimization in vision", PAMI 2004. Two search trees, one from each terminal, grow until they touch; the path found
//! is saturated; nodes that lost their way to a terminal look for another.

use std::collections::VecDeque;

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
    /// On the node at the end of this arc, which starts at the node itself.
    Arc(usize),
    /// Cut off; being looked after.
    Orphan,
}

#[derive(Debug, Clone)]
struct Node {
    tree: Tree,
    parent: Parent,
    /// What is left of the node's link to the source (positive) or to the sink (negative).
    pull: f64,
    /// Steps to the terminal, valid as of `checked`.
    distance: usize,
    checked: usize,
    active: bool,
}

/// A flow network: nodes with a pull to one of the terminals, joined by arcs. Arc `a` and its reverse `a ^ 1` are
/// neighbours.
#[derive(Debug)]
pub(super) struct Network {
    nodes: Vec<Node>,
    /// Where every arc ends.
    ends: Vec<usize>,
    /// What every arc can still carry.
    room: Vec<f64>,
    /// `arcs[first[n]..first[n + 1]]` are the arcs that start at node `n`.
    first: Vec<usize>,
    arcs: Vec<usize>,
    active: VecDeque<usize>,
    orphans: Vec<usize>,
    round: usize,
}

impl Network {
    /// A network with one node per `pull` (positive: to the source) and edges of equal capacity both ways.
    pub(super) fn new(pull: &[f64], edges: &[(usize, usize, f64)]) -> Self {
        let mut first = vec![0; pull.len() + 1];
        for &(a, b, _) in edges {
            first[a + 1] += 1;
            first[b + 1] += 1;
        }
        (0..pull.len()).for_each(|n| first[n + 1] += first[n]);
        let (mut arcs, mut filled) = (vec![0; 2 * edges.len()], first.clone());
        let (mut ends, mut room) = (Vec::with_capacity(2 * edges.len()), Vec::with_capacity(2 * edges.len()));
        for &(a, b, capacity) in edges {
            for (from, to) in [(a, b), (b, a)] {
                arcs[filled[from]] = ends.len();
                filled[from] += 1;
                ends.push(to);
                room.push(capacity);
            }
        }
        let nodes = pull.iter().map(|&pull| Node {
            tree: if pull < 0.0 { Tree::Sink } else { Tree::Source },
            parent: if pull == 0.0 { Parent::Free } else { Parent::Terminal },
            pull,
            distance: 1,
            checked: 0,
            active: pull != 0.0,
        });
        let active = (0..pull.len()).filter(|&n| pull[n] != 0.0).collect();
        Self { nodes: nodes.collect(), ends, room, first, arcs, active, orphans: Vec::new(), round: 0 }
    }

    /// The nodes on the source's side of a minimum cut.
    pub(super) fn source_side(mut self) -> Vec<bool> {
        while let Some(bridge) = self.grow() {
            self.augment(bridge);
            self.round += 1;
            while let Some(orphan) = self.orphans.pop() {
                self.adopt(orphan);
            }
        }
        self.nodes.iter().map(|n| n.tree == Tree::Source && n.parent != Parent::Free).collect()
    }

    fn arcs_of(&self, node: usize) -> std::ops::Range<usize> {
        self.first[node]..self.first[node + 1]
    }

    /// What can still flow along an arc in the direction from the source to the sink, if the arc leads away from the
    /// terminal of `tree`.
    fn room_outward(&self, arc: usize, tree: Tree) -> f64 {
        self.room[if tree == Tree::Source { arc } else { arc ^ 1 }]
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
                for at in self.arcs_of(from) {
                    let arc = self.arcs[at];
                    if self.room_outward(arc, tree) == 0.0 {
                        continue;
                    }
                    let to = &mut self.nodes[self.ends[arc]];
                    if to.parent == Parent::Free {
                        (to.tree, to.parent, to.distance, to.checked) =
                            (tree, Parent::Arc(arc ^ 1), distance + 1, checked);
                        self.activate(self.ends[arc]);
                    } else if to.tree != tree {
                        return Some(if tree == Tree::Source { arc } else { arc ^ 1 });
                    } else if to.distance > distance + 1 && to.checked <= checked {
                        // A shorter way to the terminal.
                        (to.parent, to.distance, to.checked) = (Parent::Arc(arc ^ 1), distance + 1, checked);
                    }
                }
            }
            self.active.pop_front();
            self.nodes[from].active = false;
        }
        None
    }

    /// The arcs from `node` to its terminal, and the last node.
    fn path(&self, mut node: usize) -> (Vec<usize>, usize) {
        let mut arcs = Vec::new();
        while let Parent::Arc(arc) = self.nodes[node].parent {
            arcs.push(arc);
            node = self.ends[arc];
        }
        (arcs, node)
    }

    /// Sends what the path over `bridge` can carry; nodes behind a full arc become orphans.
    fn augment(&mut self, bridge: usize) {
        // A parent arc points to the terminal: against the flow in the source's tree, with it in the sink's.
        let (mut source_arcs, source_end) = self.path(self.ends[bridge ^ 1]);
        source_arcs.iter_mut().for_each(|arc| *arc ^= 1);
        let (sink_arcs, sink_end) = self.path(self.ends[bridge]);
        let along = || source_arcs.iter().chain(&sink_arcs).copied();
        let ends = [source_end, sink_end];
        let flow = along()
            .map(|arc| self.room[arc])
            .chain(ends.iter().map(|&n| self.nodes[n].pull.abs()))
            .fold(self.room[bridge], f64::min);
        self.room[bridge] -= flow;
        self.room[bridge ^ 1] += flow;
        for arc in along() {
            self.room[arc] -= flow;
            self.room[arc ^ 1] += flow;
        }
        let full = |arc: &&usize| self.room[**arc] == 0.0;
        self.orphans.extend(source_arcs.iter().filter(full).map(|&arc| self.ends[arc]));
        self.orphans.extend(sink_arcs.iter().filter(full).map(|&arc| self.ends[arc ^ 1]));
        for end in ends {
            let node = &mut self.nodes[end];
            node.pull -= flow.copysign(node.pull);
            if node.pull == 0.0 {
                self.orphans.push(end);
            }
        }
        for at in 0..self.orphans.len() {
            self.nodes[self.orphans[at]].parent = Parent::Orphan;
        }
    }

    /// Finds an orphan another parent in its tree, the one nearest to the terminal, or sets it and its children free.
    fn adopt(&mut self, orphan: usize) {
        let tree = self.nodes[orphan].tree;
        let mut best: Option<(usize, usize)> = None;
        for at in self.arcs_of(orphan) {
            let arc = self.arcs[at];
            let candidate = self.ends[arc];
            // The flow runs from parent to child in the source's tree, from child to parent in the sink's.
            if self.room_outward(arc ^ 1, tree) == 0.0
                || self.nodes[candidate].tree != tree
                || self.nodes[candidate].parent == Parent::Free
            {
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
            (node.parent, node.distance, node.checked) = (Parent::Arc(arc), distance + 1, round);
            return;
        }
        self.nodes[orphan].parent = Parent::Free;
        self.nodes[orphan].checked = 0;
        for at in self.arcs_of(orphan) {
            let arc = self.arcs[at];
            let neighbour = self.ends[arc];
            let Node { tree: other, parent, .. } = self.nodes[neighbour];
            if other != tree || parent == Parent::Free {
                continue;
            }
            if self.room_outward(arc ^ 1, tree) != 0.0 {
                self.activate(neighbour);
            }
            if matches!(parent, Parent::Arc(up) if self.ends[up] == orphan) {
                self.nodes[neighbour].parent = Parent::Orphan;
                self.orphans.push(neighbour);
            }
        }
    }

    /// Steps from a node to its terminal, or `None` when an orphan lies in between. Marks the nodes on the way as
    /// checked in this round.
    fn distance_to_terminal(&mut self, start: usize) -> Option<usize> {
        let (mut node, mut steps) = (start, 0);
        let distance = loop {
            if self.nodes[node].checked == self.round {
                break steps + self.nodes[node].distance;
            }
            match self.nodes[node].parent {
                Parent::Arc(arc) => {
                    steps += 1;
                    node = self.ends[arc];
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
            if let Parent::Arc(arc) = self.nodes[node].parent {
                node = self.ends[arc];
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

    fn cost(pull: &[f64], edges: &[(usize, usize, f64)], source: &[bool]) -> f64 {
        let links = pull.iter().zip(source).map(|(&p, &s)| if s { (-p).max(0.0) } else { p.max(0.0) });
        links.sum::<f64>() + edges.iter().filter(|e| source[e.0] != source[e.1]).map(|e| e.2).sum::<f64>()
    }

    /// Integer capacities make ties and saturated paths common.
    #[test]
    fn no_other_cut_is_cheaper() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for case in 0..500 {
            let nodes = 2 + case % 9;
            let pull: Vec<f64> = (0..nodes).map(|_| f64::from(rng.random_range(-6..=6i32))).collect();
            let mut edges = Vec::new();
            for a in 0..nodes {
                for b in 0..a {
                    if rng.random_range(0..3) < 2 {
                        edges.push((a, b, f64::from(rng.random_range(0..=5i32))));
                    }
                }
            }
            let found = cost(&pull, &edges, &Network::new(&pull, &edges).source_side());
            let best = (0..1u32 << nodes)
                .map(|set| cost(&pull, &edges, &(0..nodes).map(|n| set >> n & 1 == 1).collect::<Vec<_>>()))
                .fold(f64::INFINITY, f64::min);
            assert_eq!(found, best, "case {case}: {pull:?} {edges:?}");
        }
    }
}
