//! Inpainting by fast marching (Telea 2004, "An image inpainting technique based on the fast marching method"): every
//! pixel becomes a weighted mean of its known neighbours, from the border of the hole inwards.
//!
//! It follows OpenCV's `cv2.inpaint(picture, mask, radius, cv2.INPAINT_TELEA)`, and is tested against it, with its
//! peculiarities: the slope between two known pixels counts four times, and values are rounded up by half too much.
//! Within `radius` of the first row and column the two differ a little: what OpenCV reads for the missing
//! neighbours there depends on its version.

use std::{cmp::Ordering, collections::BinaryHeap};

use image::{GrayImage, RgbImage};
use rand_chacha::ChaCha8Rng;

use crate::{InpaintError, Inpainter, Request};

/// The fill by [`telea`] as an inpainter: it continues the colours around the mask, and paints no object.
#[derive(Debug, Clone)]
pub struct TeleaFill {
    /// Pixels around a hole that are looked at, 1..=100.
    pub radius: u8,
}

impl Inpainter for TeleaFill {
    fn name(&self) -> &'static str {
        "telea"
    }

    fn inpaint(&self, request: &Request<'_>, _: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        request.check()?;
        Ok(telea(request.picture, request.mask, self.radius))
    }
}

/// What is known of a pixel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its colour is final.
    Known,
    /// It waits in the queue: its colour is there, its neighbours' may not be.
    Band,
    /// It is to be painted.
    Inside,
}

/// A pixel waiting, at its distance from the border; of equal distances the earlier one comes first.
#[derive(PartialEq)]
struct Waiting {
    distance: f32,
    order: usize,
    at: usize,
}

impl Eq for Waiting {}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the largest first.
        other.distance.total_cmp(&self.distance).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// First in, first out among equal distances.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Waiting>,
    pushed: usize,
}

impl Queue {
    fn push(&mut self, at: usize, distance: f32) {
        self.heap.push(Waiting { distance, order: self.pushed, at });
        self.pushed += 1;
    }

    fn pop(&mut self) -> Option<usize> {
        self.heap.pop().map(|waiting| waiting.at)
    }
}

/// A map with a border of one pixel around the picture.
struct Field {
    /// Width and height with the border.
    width: usize,
    height: usize,
    state: Vec<State>,
    /// Distance to the border of the hole: positive inside, negative outside, 1e6 where it does not matter.
    distance: Vec<f32>,
}

impl Field {
    fn neighbours(&self, at: usize) -> [usize; 4] {
        [at - self.width, at - 1, at + self.width, at + 1]
    }

    /// Whether a pixel lies in the picture and not on the border around it.
    fn in_picture(&self, at: usize) -> bool {
        let (x, y) = (at % self.width, at / self.width);
        x > 0 && y > 0 && x < self.width - 1 && y < self.height - 1
    }

    fn inside(&self, at: usize) -> bool {
        self.state[at] == State::Inside
    }

    /// The distance that two neighbours at a right angle give (Sethian 1996).
    fn solve(&self, a: usize, b: usize) -> f32 {
        let (da, db) = (f64::from(self.distance[a]), f64::from(self.distance[b]));
        let found = match (self.inside(a), self.inside(b)) {
            (false, false) if (da - db).abs() < 1.0 => (da + db + (2.0 - (da - db) * (da - db)).sqrt()) * 0.5,
            (false, true) => 1.0 + da,
            (true, false) => 1.0 + db,
            _ => 1.0 + da.min(db),
        };
        found as f32
    }

    fn reached(&self, at: usize) -> f32 {
        let [up, left, down, right] = self.neighbours(at);
        [(up, left), (down, left), (up, right), (down, right)]
            .into_iter()
            .map(|(vertical, horizontal)| self.solve(vertical, horizontal))
            .fold(f32::INFINITY, f32::min)
    }

    /// The slope across a pixel along one axis from what is known; `central` scales the difference of two neighbours.
    fn slope(&self, at: usize, step: usize, value: impl Fn(i32) -> f32, central: f32) -> f32 {
        match (self.inside(at + step), self.inside(at - step)) {
            (false, false) => (value(1) - value(-1)) * central,
            (false, true) => value(1) - value(0),
            (true, false) => value(0) - value(-1),
            (true, true) => 0.0,
        }
    }
}

/// Paints the white part of `mask` from what is around it within `radius` pixels, 1..=100 (clamped).
///
/// A mask that is white everywhere has nothing around it; the picture comes back as it is.
///
/// # Panics
/// If picture and mask have different sizes.
pub fn telea(picture: &RgbImage, mask: &GrayImage, radius: u8) -> RgbImage {
    assert_eq!(picture.dimensions(), mask.dimensions(), "picture and mask have the same size");
    let radius = i32::from(radius.clamp(1, 100));
    let (width, height) = (picture.width() as usize + 2, picture.height() as usize + 2);
    let mut state = vec![State::Known; width * height];
    for (x, y, pixel) in mask.enumerate_pixels() {
        if pixel[0] > 0 {
            state[(y as usize + 1) * width + x as usize + 1] = State::Inside;
        }
    }
    let mut field = Field { width, height, state, distance: vec![1.0e6; width * height] };
    let mut queue = Queue::default();
    for at in 0..width * height {
        if field.in_picture(at) && !field.inside(at) && field.neighbours(at).iter().any(|&near| field.inside(near)) {
            field.distance[at] = 0.0;
            queue.push(at, 0.0);
        }
    }
    outer_distances(&mut field, radius);
    let mut painted = picture.clone();
    while let Some(at) = queue.pop() {
        field.state[at] = State::Known;
        for near in field.neighbours(at) {
            if field.in_picture(near) && field.inside(near) {
                let distance = field.reached(near);
                field.distance[near] = distance;
                paint(&field, near, radius, &mut painted);
                field.state[near] = State::Band;
                queue.push(near, distance);
            }
        }
    }
    painted
}

/// Distances outside the hole as far as painting looks, negative.
fn outer_distances(field: &mut Field, radius: i32) {
    let (width, height) = (field.width as i32, field.height as i32);
    // The hole's surroundings are what this march fills; everything else counts as known.
    let mut around = vec![State::Known; field.state.len()];
    for at in (0..field.state.len()).filter(|&at| field.inside(at)) {
        let (x, y) = (at as i32 % width, at as i32 / width);
        for ny in (y - radius).max(1)..=(y + radius).min(height - 2) {
            for nx in (x - radius).max(1)..=(x + radius).min(width - 2) {
                around[(ny * width + nx) as usize] = State::Inside;
            }
        }
    }
    let mut queue = Queue::default();
    for (at, state) in around.iter_mut().enumerate() {
        if field.inside(at) {
            *state = State::Known;
        } else if field.distance[at] == 0.0 {
            *state = State::Known;
            queue.push(at, 0.0);
        }
    }
    let hole = std::mem::replace(&mut field.state, around);
    let mut reached = Vec::new();
    while let Some(at) = queue.pop() {
        reached.push(at);
        for near in field.neighbours(at) {
            if field.in_picture(near) && field.inside(near) {
                let distance = field.reached(near);
                field.distance[near] = distance;
                field.state[near] = State::Band;
                queue.push(near, distance);
            }
        }
    }
    for at in reached {
        field.distance[at] = -field.distance[at];
    }
    field.state = hole;
}

/// Gives a pixel its colours.
fn paint(field: &Field, at: usize, radius: i32, painted: &mut RgbImage) {
    let (width, height) = (field.width as i32, field.height as i32);
    let (x, y) = (at as i32 % width, at as i32 / width);
    let distance = |from: usize, step: usize| {
        move |offset: i32| field.distance[(from as i64 + i64::from(offset) * step as i64) as usize]
    };
    let front =
        [field.slope(at, 1, distance(at, 1), 0.5), field.slope(at, field.width, distance(at, field.width), 0.5)];
    for colour in 0..3 {
        let colours = &*painted;
        let value = |px: i32, py: i32| f32::from(colours.get_pixel(px as u32, py as u32)[colour]);
        let (mut mean, mut dx, mut dy, mut sum) = (0.0_f32, 0.0_f32, 0.0_f32, 1.0e-20_f32);
        for ny in (y - radius).max(1)..=(y + radius).min(height - 2) {
            let (above, below) = (ny - 1 + i32::from(ny == 1), ny - 1 - i32::from(ny == height - 2));
            for nx in (x - radius).max(1)..=(x + radius).min(width - 2) {
                let near = (ny * width + nx) as usize;
                let (rx, ry) = ((x - nx) as f32, (y - ny) as f32);
                let squared = rx * rx + ry * ry;
                if field.inside(near) || squared > (radius * radius) as f32 {
                    continue;
                }
                let (before, after) = (nx - 1 + i32::from(nx == 1), nx - 1 - i32::from(nx == width - 2));
                // Near, at the same depth, and in the direction of the front: more weight.
                let close = (1.0 / (f64::from(squared) * f64::from(squared).sqrt())) as f32;
                let level = (1.0 / (1.0 + f64::from((field.distance[near] - field.distance[at]).abs()))) as f32;
                let along = rx * front[0] + ry * front[1];
                let along = if along.abs() <= 0.01 { 0.000_001 } else { along };
                let weight = (close * level * along).abs();
                let slope_x = field.slope(
                    near,
                    1,
                    |offset| match offset {
                        1 => value(after + 1, above),
                        // The neighbour to the left, except that a missing one to the right moves the centre.
                        0 if field.inside(near + 1) => value(after, above),
                        0 => value(before, above),
                        _ => value(before - 1, above),
                    },
                    2.0,
                );
                let slope_y = field.slope(
                    near,
                    field.width,
                    |offset| match offset {
                        1 => value(before, below + 1),
                        0 if field.inside(near + field.width) => value(before, below),
                        0 => value(before, above),
                        _ => value(before, above - 1),
                    },
                    2.0,
                );
                mean += weight * value(before, above);
                dx -= weight * (slope_x * rx);
                dy -= weight * (slope_y * ry);
                sum += weight;
            }
        }
        let result = mean / sum + (dx + dy) / ((dx * dx + dy * dy).sqrt() + 1.0e-20) + 0.5;
        // OpenCV rounds to the nearest even here, on top of the half.
        let byte = result.round_ties_even().clamp(0.0, 255.0) as u8;
        painted.get_pixel_mut(x as u32 - 1, y as u32 - 1)[colour] = byte;
    }
}

#[cfg(test)]
#[path = "telea_tests.rs"]
mod tests;
