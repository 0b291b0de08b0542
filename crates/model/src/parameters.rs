//! Parameters by name: where a model's values come from, and how to walk over them.
//!
//! A model is built *from* a source of values instead of being built at random and then overwritten: nothing is
//! allocated twice, and a missing tensor is found before any work is done.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// A parameter is not available.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// The checkpoint has no tensor of that name.
    #[error("{place}: tensor \"{name}\" is missing{hint}")]
    Missing {
        /// The checkpoint.
        place: String,
        /// Name of the tensor.
        name: String,
        /// What may have happened instead, or nothing.
        hint: String,
    },
    /// The checkpoint's tensor has another shape.
    #[error("{place}: tensor \"{name}\" has shape {found:?}, but the configuration asks for {expected:?}")]
    Shape {
        /// The checkpoint.
        place: String,
        /// Name of the tensor.
        name: String,
        /// Shape in the checkpoint.
        found: Vec<usize>,
        /// Shape that the model needs.
        expected: Vec<usize>,
    },
    /// The tensor's numbers cannot be used.
    #[error("{place}: tensor \"{name}\": {message}")]
    Content {
        /// The checkpoint.
        place: String,
        /// Name of the tensor.
        name: String,
        /// The fault.
        message: String,
    },
}

/// A source of parameter values.
pub trait Parameters {
    /// The values of parameter `name`, of exactly `shape`.
    ///
    /// # Errors
    /// There is no such tensor, or it has another shape.
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError>;

    /// The parameter as a trainable tensor on `device`, in the dtype that the source gives it.
    ///
    /// # Errors
    /// As [`Self::parameter`].
    fn param<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Param<Tensor<D>>, ParameterError> {
        let data = self.parameter(name, &shape)?;
        let dtype = data.dtype();
        Ok(Param::from_tensor(Tensor::from_data(data, (device, dtype))))
    }
}

/// A source whose matrices are rounded to another dtype, for models that are not trained; vectors stay as they are.
pub struct Rounded<'p, P> {
    /// Where the values come from.
    pub source: &'p P,
    /// The dtype of matrices.
    pub dtype: DType,
}

impl<P: Parameters> Parameters for Rounded<'_, P> {
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        let data = self.source.parameter(name, shape)?;
        Ok(match shape.len() {
            2 => data.convert_dtype(self.dtype),
            _ => data,
        })
    }
}

/// What a walk over a module's float parameters calls, with each parameter's full name.
pub trait NamedParameters {
    /// One parameter.
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>);
}

/// Walks over all float parameters of `module` in the order of its fields.
pub fn named_parameters<M: Module>(module: &M, visitor: &mut impl NamedParameters) {
    module.visit(&mut Walk {
        path: Vec::new(),
        visitor,
    });
}

struct Walk<'a, V> {
    path: Vec<String>,
    visitor: &'a mut V,
}

impl<V: NamedParameters> ModuleVisitor for Walk<'_, V> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        self.visitor.visit(&name, param);
    }
}

/// What a mapping over a module's float parameters calls, with each parameter's full name.
pub trait MapParameters {
    /// The new value of one parameter, both without autodiff. The old value is not shared with the module any
    /// more, so arithmetic on it can happen in place.
    fn map<const D: usize>(&mut self, name: &str, value: Tensor<D>) -> Tensor<D>;
}

/// Replaces every float parameter of `module` by what `mapper` makes of it; identities and trainability stay.
pub fn map_parameters<M: Module>(module: M, mapper: &mut impl MapParameters) -> M {
    module.map(&mut Map {
        path: Vec::new(),
        mapper,
    })
}

struct Map<'a, F> {
    path: Vec<String>,
    mapper: &'a mut F,
}

impl<F: MapParameters> ModuleMapper for Map<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let (id, value, mapper) = param.consume();
        let (autodiff, trainable) = (value.is_autodiff(), value.is_require_grad());
        let value = self.mapper.map(&name, value.without_autodiff());
        let value = if autodiff {
            value.autodiff().set_require_grad(trainable)
        } else {
            value
        };
        Param::from_mapped_value(id, value, mapper)
    }
}
