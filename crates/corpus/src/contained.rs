//! Panics of other crates as errors.
//!
//! The last resort for a crate that panics on input that it should refuse. The panic is not printed; its message is
//! returned.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

static HOOK: Once = Once::new();

thread_local! {
    static CONTAINS: Cell<bool> = const { Cell::new(false) };
}

/// The result of `work`, or the message of its panic. State that `work` changes must not be used after a panic.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            if !CONTAINS.get() {
                print(panic);
            }
        }));
    });
    let before = CONTAINS.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CONTAINS.set(before);
    outcome.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::contained;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(contained(|| 3), Ok(3));
        assert_eq!(
            contained(|| -> u32 { panic!("on {}", "purpose") }),
            Err("on purpose".to_owned())
        );
        assert_eq!(
            contained(|| -> u32 { panic!("plainly") }),
            Err("plainly".to_owned())
        );
        assert_eq!(contained(|| contained(|| -> u32 { panic!() }).is_err()), Ok(true));
    }
}
