//! Changes of gradients and parameters between `backward` and the optimiser.

use std::{collections::BTreeSet, marker::PhantomData};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
};

use super::schedule::Pull;

/// The values of every parameter, by id, without graph.
pub(super) fn values<M: Module>(module: &M) -> GradientsParams {
    let mut visitor = Collect { into: GradientsParams::new() };
    module.visit(&mut visitor);
    visitor.into
}

struct Collect {
    into: GradientsParams,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.into.register(param.id, plain(param.val()));
    }
}

/// Whether no two parameters have the same id.
pub(super) fn ids_are_distinct<M: Module>(module: &M) -> bool {
    let mut visitor = Ids { seen: BTreeSet::new(), distinct: true };
    module.visit(&mut visitor);
    visitor.distinct
}

struct Ids {
    seen: BTreeSet<u64>,
    distinct: bool,
}

impl ModuleVisitor for Ids {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.distinct &= self.seen.insert(param.id.val());
    }
}

/// A tensor off the tape.
fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() { tensor.inner() } else { tensor }
}

/// Adds `strength * (parameter - target)` to every gradient.
pub(super) fn pull<M: Module>(module: &M, gradients: &mut GradientsParams, pull: Pull, start: &GradientsParams) {
    module.visit(&mut Puller { gradients, pull, start });
}

struct Puller<'a> {
    gradients: &'a mut GradientsParams,
    pull: Pull,
    start: &'a GradientsParams,
}

impl ModuleVisitor for Puller<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D < 2 && !self.pull.biases {
            return;
        }
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let value = plain(param.val());
        let distance = match self.start.get::<D>(param.id) {
            Some(start) if self.pull.to_start => value - start,
            _ => value,
        };
        self.gradients.register(param.id, gradient + distance.mul_scalar(self.pull.strength));
    }
}

/// Scales all gradients so that their common norm is at most `limit`: PyTorch's `clip_grad_norm_`, with its 1e-6.
pub(super) fn clip<M: Module>(module: &M, gradients: &mut GradientsParams, limit: f64) {
    let mut norm = Norm { gradients, squares: 0.0 };
    module.visit(&mut norm);
    let scale = limit / (norm.squares.sqrt() + 1e-6);
    if scale < 1.0 {
        module.visit(&mut Scale { gradients, scale });
    }
}

/// Multiplies all gradients.
pub(super) fn scale<M: Module>(module: &M, gradients: &mut GradientsParams, scale: f64) {
    module.visit(&mut Scale { gradients, scale });
}

struct Norm<'a> {
    gradients: &'a GradientsParams,
    squares: f64,
}

impl ModuleVisitor for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.squares += f64::from(gradient.square().sum().into_scalar::<f32>());
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    scale: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient.mul_scalar(self.scale));
        }
    }
}

/// The exponential moving average of a module's parameters. Running statistics of batch norms are those of the module
/// itself, as in `torch.optim.swa_utils.AveragedModel` without `use_buffers`.
#[derive(Debug)]
pub(super) struct Average<M> {
    parameters: GradientsParams,
    decay: f64,
    of: PhantomData<M>,
}

impl<M: Module> Average<M> {
    /// Goes on from averages that [`super::checkpoint`] kept, those of `module`.
    pub(super) fn set(&mut self, module: &M) {
        self.parameters = values(module);
    }

    /// Starts at the present parameters.
    pub(super) fn new(module: &M, decay: f64) -> Self {
        Self { parameters: values(module), decay, of: PhantomData }
    }

    /// `average = decay * average + (1 - decay) * parameter`
    pub(super) fn update(&mut self, module: &M) {
        module.visit(&mut Blend { average: &mut self.parameters, decay: self.decay });
    }

    /// The module, off the tape, with the averaged parameters.
    pub(super) fn module(&self, module: &M) -> M {
        module.valid().map(&mut Replace { by: &self.parameters })
    }
}

struct Blend<'a> {
    average: &'a mut GradientsParams,
    decay: f64,
}

impl ModuleVisitor for Blend<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = plain(param.val());
        let blended = match self.average.remove::<D>(param.id) {
            Some(old) => old.mul_scalar(self.decay) + value.mul_scalar(1.0 - self.decay),
            None => value,
        };
        self.average.register(param.id, blended);
    }
}

struct Replace<'a> {
    by: &'a GradientsParams,
}

impl ModuleMapper for Replace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.by.get::<D>(param.id) {
            Some(value) => param.map(|_| value),
            None => param,
        }
    }
}

/// Stops the gradients of every parameter whose path (such as `stem.conv.weight`) starts with one of `prefixes`.
/// Returns the prefixes that fit no parameter beside the module.
pub(crate) fn freeze<M: Module>(module: M, prefixes: &[String]) -> (M, Vec<String>) {
    let mut freezer = Freezer { path: Vec::new(), prefixes, used: vec![false; prefixes.len()] };
    let module = module.map(&mut freezer);
    let unused = prefixes.iter().zip(&freezer.used).filter(|(_, used)| !**used).map(|(p, _)| p.clone()).collect();
    (module, unused)
}

struct Freezer<'a> {
    path: Vec<String>,
    prefixes: &'a [String],
    used: Vec<bool>,
}

impl ModuleMapper for Freezer<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // The first parts are the position in the list of models and the variant of the network.
        let inside = |prefix: &str| {
            let wanted: Vec<&str> = prefix.split('.').collect();
            (0..self.path.len().min(3)).any(|skip| {
                self.path[skip..].len() >= wanted.len()
                    && wanted.iter().zip(&self.path[skip..]).all(|(w, p)| *w == p.as_str())
            })
        };
        let hits: Vec<bool> = self.prefixes.iter().map(|p| inside(p)).collect();
        self.used.iter_mut().zip(&hits).for_each(|(used, hit)| *used |= hit);
        if hits.contains(&true) { param.set_require_grad(false) } else { param }
    }
}
