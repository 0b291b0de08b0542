//! Default values of keys, in the forms that serde's attributes take.

/// Whether a setting has its default value. It is then left out of canonical forms, for older versions lacked the key.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn yes() -> bool {
    true
}

pub(crate) fn whole_number<T: From<u32>, const N: u32>() -> T {
    N.into()
}
