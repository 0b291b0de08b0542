//! Why a device cannot be used.

/// A device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The backend exists but is not compiled in.
    #[error(
        "backend \"{name}\" is not compiled into this binary (it has: {compiled}); build with `--features {name}`"
    )]
    NotCompiled {
        /// The requested backend.
        name: String,
        /// Backends compiled in.
        compiled: String,
    },
    /// No backend of that name exists.
    #[error("there is no backend \"{name}\"; this binary has: {compiled}")]
    Unknown {
        /// The requested name.
        name: String,
        /// Backends compiled in.
        compiled: String,
    },
    /// The device's name is not one of the backend's.
    #[error("backend \"{backend}\" has no device \"{device}\"; write {expected}")]
    Device {
        /// The backend.
        backend: String,
        /// The requested device.
        device: String,
        /// Valid names.
        expected: &'static str,
    },
    /// The device cannot be opened.
    #[error("backend \"{backend}\": no device can be opened: {reason}")]
    Unavailable {
        /// The backend.
        backend: String,
        /// The system's error.
        reason: String,
    },
}
