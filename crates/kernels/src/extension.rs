//! A table of operations becomes an extension of Burn's dispatch: each row is one operation, on every backend, with and
//! without autodiff.
//!
//! Burn asks for a trait method per operation, an implementation per backend and one for `Autodiff`. They differ in names
//! and types only, which is what a table holds.

/// `Extension by Kernels: Bound on Backend "feature", …;`, then one row per operation:
///
/// `fn name[inputs: rank](constants: rank; arguments: Type) -> rank = path;`
///
/// Only `inputs` may have a gradient; `constants` are tensors without one. Generates
/// - the trait `Kernels`: the operations of one backend, by default those at the paths,
/// - the trait `Extension`, which Burn dispatches to the backends,
/// - a function on tensors per operation.
///
/// The module that uses it imports what the code below names.
macro_rules! operations {
    (
        $extension:ident by $kernels:ident: $bound:ident on $($backend:ident $feature:tt),+;
        $(
            $(#[$docs:meta])*
            fn $name:ident[$($input:ident: $rank:tt),*](
                $($constant:ident: $constant_rank:tt),*; $($argument:ident: $type:ty),*
            ) -> $out:tt = $($path:ident)::+;
        )+
    ) => {
        /// The operations of one backend. Each returns what its backward pass needs for the gradients that are `wanted`.
        pub(crate) trait $kernels: $bound {
            $(
                $(#[$docs])*
                fn $name(
                    inputs: [FloatTensor<Self>; $crate::extension::count!($($input)*)],
                    $($constant: FloatTensor<Self>,)*
                    $($argument: $type,)*
                    wanted: [bool; $crate::extension::count!($($input)*)],
                ) -> (
                    FloatTensor<Self>,
                    impl Saved<Self, { $crate::extension::count!($($input)*) }>,
                ) {
                    $($path)::+::<Self>(inputs, $($constant,)* $($argument,)* wanted)
                }
            )+
        }

        /// The operations as Burn sees them.
        #[backend_extension($($backend: cfg(feature = $feature),)+ Autodiff)]
        pub(crate) trait $extension: Backend {
            $(
                fn $name(
                    $($input: FloatTensor<Self>,)*
                    $($constant: FloatTensor<Self>,)*
                    $($argument: $type,)*
                ) -> FloatTensor<Self>;
            )+
        }

        macro_rules! without_autodiff {
            ($concrete:ident) => {
                impl $extension for $concrete {
                    $(
                        fn $name(
                            $($input: FloatTensor<Self>,)*
                            $($constant: FloatTensor<Self>,)*
                            $($argument: $type,)*
                        ) -> FloatTensor<Self> {
                            let wanted = [false; $crate::extension::count!($($input)*)];
                            <Self as $kernels>::$name([$($input),*], $($constant,)* $($argument,)* wanted).0
                        }
                    )+
                }
            };
        }
        $(
            #[cfg(feature = $feature)]
            without_autodiff!($backend);
        )+

        impl<B: $kernels, C: CheckpointStrategy> $extension for Autodiff<B, C> {
            $(
                fn $name(
                    $($input: FloatTensor<Self>,)*
                    $($constant: FloatTensor<Self>,)*
                    $($argument: $type,)*
                ) -> FloatTensor<Self> {
                    $(let $constant = $constant.primitive().clone();)*
                    tracked::<B, C, _, { $crate::extension::count!($($input)*) }>(
                        [$($input),*],
                        |inputs, wanted| {
                            <B as $kernels>::$name(inputs, $($constant,)* $($argument,)* wanted)
                        },
                    )
                }
            )+
        }

        $(
            $(#[$docs])*
            pub(crate) fn $name(
                $($input: Tensor<$rank>,)*
                $($constant: Tensor<$constant_rank>,)*
                $($argument: $type,)*
            ) -> Tensor<$out> {
                Tensor::from_dispatch(<Dispatch as $extension>::$name(
                    $($input.into_dispatch(),)*
                    $($constant.into_dispatch(),)*
                    $($argument,)*
                ))
            }
        )+
    };
}

/// How many names these are.
macro_rules! count {
    ($($name:ident)*) => {
        <[&str]>::len(&[$(stringify!($name)),*])
    };
}

pub(crate) use {count, operations};
