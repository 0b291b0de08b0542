//! Where the backward pass puts gradients; full buckets are passed to the sums over ranks.

use burn::tensor::{Device, Tensor};
use smollm3_recipe::Sharding;

use super::buckets::Buckets;
use crate::step::gradients::AccumulatedGradients;

/// Takes a bucket by its number, with the gradients of all its parameters.
pub(super) type SendBucket<'s> = &'s mut dyn FnMut(usize, Tensor<1>);

/// Where the backward pass puts gradients. By default for one rank, which sends nothing.
#[derive(Default)]
pub(crate) struct GradientSink<'a> {
    /// Gradients that have not been sent.
    pub gradients: AccumulatedGradients,
    sender: Option<BucketSender<'a>>,
}

/// Sends the buckets of a micro-batch as they fill.
struct BucketSender<'a> {
    buckets: &'a Buckets,
    sharding: Sharding,
    device: &'a Device,
    send: SendBucket<'a>,
    /// Whether buckets are sent as they fill.
    is_open: bool,
    /// Buckets sent since it was opened.
    sent: usize,
}

impl<'a> GradientSink<'a> {
    /// For one of several ranks.
    pub fn of(send: SendBucket<'a>, buckets: &'a Buckets, sharding: Sharding, device: &'a Device) -> Self {
        Self {
            gradients: AccumulatedGradients::default(),
            sender: Some(BucketSender {
                buckets,
                sharding,
                device,
                send,
                is_open: false,
                sent: 0,
            }),
        }
    }

    /// Another micro-batch of this rank begins.
    pub fn begin(&mut self, is_last: bool) {
        if let Some(sender) = &mut self.sender {
            sender.is_open = is_last || sender.sharding == Sharding::Gradients;
            sender.sent = 0;
        }
    }

    /// The gradients of this layer and of those above are complete for the micro-batch.
    pub fn layer_done(&mut self, layer: usize) {
        if let Some(sender) = self.sender.as_mut().filter(|sender| sender.is_open) {
            let buckets = sender.buckets.iter();
            let up_to = buckets.take_while(|bucket| bucket.layer >= Some(layer)).count();
            sender.up_to(up_to, &mut self.gradients);
        }
    }

    /// The micro-batch is done.
    pub fn end(&mut self) {
        if let Some(sender) = self.sender.as_mut().filter(|sender| sender.is_open) {
            sender.up_to(sender.buckets.count(), &mut self.gradients);
        }
    }
}

impl BucketSender<'_> {
    fn up_to(&mut self, count: usize, gradients: &mut AccumulatedGradients) {
        for index in self.sent..count {
            if let Some(bucket) = self.buckets.get(index) {
                (self.send)(index, bucket.take(gradients, self.device));
            }
        }
        self.sent = self.sent.max(count);
    }
}
