//! A faster 2-D convolution, with its own gradients; see [`crate::conv2d`].
//!
//! burn-flex 0.22.1 transposes the whole input to NHWC on one thread at every call and computes the weight gradient as a
//! convolution with a kernel as large as the output. Here everything stays in the layout that tensors have, and there are
//! five ways: 3 x 3 kernels by Winograd's filters (`winograd`, AVX-512), other kernels of several elements and of one in vector
//! registers (`direct` and `pointwise`, AVX-512), a kernel per channel (`depthwise`), and im2col with one matrix product per tile
//! for the rest (`kernel`; Chellapilla et al. 2006, "High performance convolutional neural networks for document processing"). Sums
//! are taken in an order that depends on the shapes alone: the number of threads does not change a bit of the result.

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            NodeId,
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::{Tensor, ops::ConvOptions},
};

#[cfg(target_arch = "x86_64")]
mod block;
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod direct;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod pointwise;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod transforms;
#[cfg(target_arch = "x86_64")]
mod winograd;

use tiles::Geometry;

use super::{covers, on_side, values};
use crate::layers::Activation;

/// The fast convolution and `activation`, if it covers this one. `bias` is `[O]`.
pub(crate) fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<2>,
    activation: Activation,
) -> Option<Tensor<4>> {
    let geometry = Geometry { activation, ..Geometry::covered(x, weight, options)? };
    let recorded = [x, weight]
        .iter()
        .find_map(|tensor| tensor.gradient_checkpointing_strategy())
        .or_else(|| bias?.gradient_checkpointing_strategy());
    let bias = bias.cloned().unwrap_or_else(|| Tensor::zeros([geometry.channels_out], &x.device()));
    let y = <Dispatch as FastConv>::fast_conv2d(
        on_side(x.clone(), recorded).into_dispatch(),
        on_side(weight.clone(), recorded).into_dispatch(),
        on_side(bias, recorded).into_dispatch(),
        geometry,
    );
    Some(Tensor::from_dispatch(y))
}

impl Geometry {
    /// The geometry of a convolution that the fast way covers.
    fn covered(x: &Tensor<4>, weight: &Tensor<4>, options: &ConvOptions<2>) -> Option<Self> {
        if !covers(x) || !covers(weight) || options.dilation != [1, 1] {
            return None;
        }
        let ([images, channels, height, width], [channels_out, c, kh, kw]) = (x.dims(), weight.dims());
        let depthwise = options.groups == channels && channels_out == channels && channels > 1;
        if options.groups != 1 && !depthwise {
            return None;
        }
        let begin = options.padding_begin();
        let end = options.padding_end();
        let reach = [height + begin[0] + end[0], width + begin[1] + end[1]];
        // What does not fit is refused by burn with its own message.
        if channels != c * options.groups || reach[0] < kh || reach[1] < kw {
            return None;
        }
        let output = [(reach[0] - kh) / options.stride[0] + 1, (reach[1] - kw) / options.stride[1] + 1];
        let empty = [images, channels, height, width, channels_out, kh, kw].contains(&0);
        (!empty).then_some(Self {
            images,
            channels,
            input: [height, width],
            channels_out,
            output,
            kernel: [kh, kw],
            stride: options.stride,
            padding: begin,
            depthwise,
            activation: Activation::None,
        })
    }
}

/// What a device must bring; the macro writes the choice between the devices.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FastConv: Backend {
    /// Forward, with bias.
    fn fast_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self>;
}

/// The gradients, which only a device without recorded operations has to know.
pub(crate) trait ConvGradients: Backend {
    /// The output's gradient before the activation.
    fn activation_gradient(dy: FloatTensor<Self>, y: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self>;
    /// With respect to the input.
    fn input_gradient(dy: FloatTensor<Self>, weight: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self>;
    /// With respect to the weight.
    fn weight_gradient(dy: FloatTensor<Self>, x: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self>;
    /// With respect to the bias.
    fn bias_gradient(dy: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self>;
}

impl FastConv for Flex {
    fn fast_conv2d(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, geometry: Geometry) -> FlexTensor {
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let way = if geometry.depthwise { depthwise::forward } else { kernel::forward };
        way(values(&x), values(&weight), values(&bias), geometry)
    }
}

impl ConvGradients for Flex {
    fn activation_gradient(dy: FlexTensor, y: FlexTensor, geometry: Geometry) -> FlexTensor {
        let (dy, y) = (dy.to_contiguous(), y.to_contiguous());
        kernel::activation_gradient(values(&dy), values(&y), geometry)
    }

    fn input_gradient(dy: FlexTensor, weight: FlexTensor, geometry: Geometry) -> FlexTensor {
        let (dy, weight) = (dy.to_contiguous(), weight.to_contiguous());
        let way = if geometry.depthwise { depthwise::input_gradient } else { kernel::input_gradient };
        way(values(&dy), values(&weight), geometry)
    }

    fn weight_gradient(dy: FlexTensor, x: FlexTensor, geometry: Geometry) -> FlexTensor {
        let (dy, x) = (dy.to_contiguous(), x.to_contiguous());
        let way = if geometry.depthwise { depthwise::weight_gradient } else { kernel::weight_gradient };
        way(values(&dy), values(&x), geometry)
    }

    fn bias_gradient(dy: FlexTensor, geometry: Geometry) -> FlexTensor {
        kernel::bias_gradient(values(&dy.to_contiguous()), geometry)
    }
}

impl<B: Backend + FastConv + ConvGradients, C: CheckpointStrategy> FastConv for Autodiff<B, C> {
    fn fast_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;

        impl<B: Backend + ConvGradients> Backward<B, 3> for Step {
            /// Input, weight, and the output where it went through an activation function.
            type State = (NodeId, NodeId, Option<B::FloatTensorPrimitive>, Geometry);

            fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
                let [to_x, to_weight, to_bias] = ops.parents;
                let (x, weight, y, geometry) = ops.state;
                let mut dy = gradients.consume::<B>(&ops.node);
                if let Some(y) = y {
                    dy = B::activation_gradient(dy, y, geometry);
                }
                // Both are asked for in any case: the checkpointer counts how often a state is taken.
                let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
                let weight = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(weight);
                if let Some(node) = to_bias {
                    gradients.register::<B>(node.id, B::bias_gradient(dy.clone(), geometry));
                }
                if let Some(node) = to_weight {
                    gradients.register::<B>(node.id, B::weight_gradient(dy.clone(), x, geometry));
                }
                if let Some(node) = to_x {
                    gradients.register::<B>(node.id, B::input_gradient(dy, weight, geometry));
                }
            }
        }

        match Step.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let (of_x, of_weight) = (prepared.checkpoint(&x), prepared.checkpoint(&weight));
                let y = B::fast_conv2d(x.into_primitive(), weight.into_primitive(), bias.into_primitive(), geometry);
                let kept = (geometry.activation != Activation::None).then(|| y.clone());
                prepared.finish((of_x, of_weight, kept, geometry), y)
            }
            OpsKind::UnTracked(prepared) => {
                let y = B::fast_conv2d(x.into_primitive(), weight.into_primitive(), bias.into_primitive(), geometry);
                prepared.finish(y)
            }
        }
    }
}

#[cfg(test)]
mod tests;
