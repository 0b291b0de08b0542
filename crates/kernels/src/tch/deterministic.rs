//! LibTorch's deterministic algorithms around one call.
//!
//! The setting is global to the process and makes other operations slower or fail. It is therefore set for the one call that
//! needs it and restored afterwards, however the call ends. Calls of several threads are serialised: otherwise one would
//! restore what another has set. A call only launches kernels, so the wait is short.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shim::DeterminismFlags;

static TURN: Mutex<()> = Mutex::new(());

/// While this lives, LibTorch uses deterministic algorithms, if they are enabled at all.
pub(super) struct Deterministic {
    before: Option<(DeterminismFlags, MutexGuard<'static, ()>)>,
}

impl Deterministic {
    pub fn begin() -> Self {
        let before = crate::is_deterministic().then(|| {
            let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let before = DeterminismFlags::current();
            let during = DeterminismFlags {
                algorithms: true,
                warn_only: false,
                fill: false,
            };
            during.set();
            (before, turn)
        });
        Self { before }
    }
}

impl Drop for Deterministic {
    fn drop(&mut self) {
        if let Some((before, _turn)) = self.before.take() {
            before.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the setting is global to the process.
    #[test]
    fn it_is_set_during_the_call_and_restored_however_that_ends() {
        let usual = DeterminismFlags {
            algorithms: false,
            warn_only: false,
            fill: true,
        };
        let other = DeterminismFlags {
            algorithms: true,
            warn_only: true,
            fill: true,
        };
        assert_eq!(DeterminismFlags::current(), usual);
        for before in [usual, other] {
            before.set();
            let during = {
                let _deterministic = Deterministic::begin();
                DeterminismFlags::current()
            };
            assert!(during.algorithms && !during.warn_only && !during.fill);
            assert_eq!(DeterminismFlags::current(), before);
            let panicked = std::panic::catch_unwind(|| {
                let _deterministic = Deterministic::begin();
                panic!("as tch does where LibTorch throws");
            });
            assert!(panicked.is_err());
            assert_eq!(DeterminismFlags::current(), before);
        }
        usual.set();

        // The second must not save the first one's setting as the previous one.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _deterministic = Deterministic::begin();
                        assert!(DeterminismFlags::current().algorithms);
                    }
                });
            }
        });
        assert_eq!(DeterminismFlags::current(), usual);

        crate::set_deterministic(false);
        let during = {
            let _deterministic = Deterministic::begin();
            DeterminismFlags::current()
        };
        crate::set_deterministic(true);
        assert_eq!(during, usual);
    }
}
