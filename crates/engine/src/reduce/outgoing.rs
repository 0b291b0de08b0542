//! Gradients on their way from the backward pass to the sums over ranks.

use burn::tensor::{Device, Gradients, Tensor};
use smollm3_model::SmolLm3;
use smollm3_recipe::Sharding;

use super::buckets::Buckets;
use crate::AccumulatedGradients;

/// Takes a bucket by its number, with the gradients of all its parameters.
pub(super) type Send<'s> = &'s mut dyn FnMut(usize, Tensor<1>);

/// Where the backward pass puts gradients.
pub(crate) struct Outgoing<'a> {
    /// Those that have not been sent.
    pub gradients: AccumulatedGradients,
    sending: Option<Sending<'a>>,
}

struct Sending<'a> {
    buckets: &'a Buckets,
    sharding: Sharding,
    device: &'a Device,
    send: Send<'a>,
    /// Whether what is complete goes out now.
    is_open: bool,
    /// Buckets that went out since it was opened.
    sent: usize,
}

impl<'a> Outgoing<'a> {
    /// With nowhere to send to.
    pub fn alone() -> Self {
        Self {
            gradients: AccumulatedGradients::default(),
            sending: None,
        }
    }

    /// With several ranks.
    pub fn to(send: Send<'a>, buckets: &'a Buckets, sharding: Sharding, device: &'a Device) -> Self {
        Self {
            gradients: AccumulatedGradients::default(),
            sending: Some(Sending {
                buckets,
                sharding,
                device,
                send,
                is_open: false,
                sent: 0,
            }),
        }
    }

    /// Adds the gradients that a backward pass left for the parameters of `model`.
    pub fn add(&mut self, model: &SmolLm3, found: Gradients) {
        self.gradients.add(model, found);
    }

    /// Another micro-batch of this rank begins.
    pub fn begin(&mut self, is_last: bool) {
        if let Some(sending) = &mut self.sending {
            sending.is_open = is_last || sending.sharding == Sharding::Gradients;
            sending.sent = 0;
        }
    }

    /// The micro-batch has left the gradients of this layer and of those above.
    pub fn found(&mut self, layer: usize) {
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.is_open) {
            let buckets = sending.buckets.iter();
            let up_to = buckets.take_while(|bucket| bucket.layer >= Some(layer)).count();
            sending.up_to(up_to, &mut self.gradients);
        }
    }

    /// The micro-batch is done.
    pub fn end(&mut self) {
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.is_open) {
            sending.up_to(sending.buckets.count(), &mut self.gradients);
        }
    }
}

impl Sending<'_> {
    fn up_to(&mut self, count: usize, gradients: &mut AccumulatedGradients) {
        for index in self.sent..count {
            if let Some(bucket) = self.buckets.get(index) {
                (self.send)(index, bucket.take(gradients, self.device));
            }
        }
        self.sent = self.sent.max(count);
    }
}
