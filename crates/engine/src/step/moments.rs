//! Moments in files, whole or in parts, as one or several ranks have written them.
//!
//! A part is called by the parameter and its elements, `exp_avg.NAME[3..8]`, so that an index of names and files is all
//! that is needed to read a state at any number of ranks, and parameters that lie in one part are called as ever.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use smollm3_model::ParameterError;
use smollm3_model::hf::TensorFiles;

use crate::Result;

/// The stem of the files of moments in a checkpoint.
pub const OPTIMIZER: &str = "optimizer";

/// The name of some elements of a tensor, or of all.
pub(crate) fn part_name(name: &str, elements: Option<&Range<usize>>) -> String {
    match elements {
        Some(Range { start, end }) => format!("{name}[{start}..{end}]"),
        None => name.to_owned(),
    }
}

/// The tensor and the elements that a name says; `None` if it is of a whole one.
fn parse(name: &str) -> Option<(&str, Range<usize>)> {
    let (whole, elements) = name.strip_suffix(']')?.rsplit_once('[')?;
    let (start, end) = elements.split_once("..")?;
    Some((whole, start.parse().ok()?..end.parse().ok()?))
}

/// The moments of a checkpoint, read as if they were whole; a reader of a part reads that part.
pub(crate) struct SavedMoments {
    files: TensorFiles,
    /// Elements in their order, by the tensor's name.
    parts: BTreeMap<String, Vec<Range<usize>>>,
    place: String,
}

impl SavedMoments {
    /// Those in the folder of a checkpoint.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let files = TensorFiles::open(folder, OPTIMIZER)?;
        let mut parts: BTreeMap<String, Vec<Range<usize>>> = BTreeMap::new();
        for (whole, elements) in files.names().filter_map(parse) {
            parts.entry(whole.to_owned()).or_default().push(elements);
        }
        for parts in parts.values_mut() {
            parts.sort_unstable_by_key(|elements| elements.start);
        }
        Ok(Self {
            files,
            parts,
            place: folder.display().to_string(),
        })
    }

    /// Elements `wanted` of a moment of `count` elements. Nothing else is read, so that a rank that resumes takes no
    /// more memory than its own moments.
    ///
    /// # Errors
    /// The moment is missing, or its parts do not make it up.
    pub fn elements(
        &self,
        name: &str,
        count: usize,
        wanted: Range<usize>,
    ) -> std::result::Result<Vec<f32>, ParameterError> {
        let Some(parts) = self.parts.get(name) else {
            return self.files.elements(name, &[count], wanted);
        };
        self.check(name, parts, count)?;
        let mut values = Vec::with_capacity(wanted.len());
        for part in parts {
            let both = part.start.max(wanted.start)..part.end.min(wanted.end);
            if !both.is_empty() {
                let stored = part_name(name, Some(part));
                let elements = both.start - part.start..both.end - part.start;
                values.extend(self.files.elements(&stored, &[part.len()], elements)?);
            }
        }
        Ok(values)
    }

    /// Whether the parts of a moment follow one another and are all of it.
    fn check(
        &self,
        name: &str,
        parts: &[Range<usize>],
        count: usize,
    ) -> std::result::Result<(), ParameterError> {
        let wrong = |message: String| ParameterError::Content {
            place: self.place.clone(),
            name: name.to_owned(),
            message,
        };
        let mut end = 0;
        for part in parts {
            if part.start != end || part.end > count || part.is_empty() {
                let Range { start, end: stop } = part;
                return Err(wrong(format!(
                    "its part [{start}..{stop}] does not go on from element {end} of {count}"
                )));
            }
            end = part.end;
        }
        match end == count {
            true => Ok(()),
            false => Err(wrong(format!("its parts have {end} elements of {count}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(name in "[a-z.\\[\\]]{0,12}", start in any::<usize>(), end in any::<usize>()) {
            let text = part_name(&name, Some(&(start..end)));
            prop_assert_eq!(parse(&text), Some((name.as_str(), start..end)));
        }

        #[test]
        fn no_name_is_too_odd(name in ".{0,20}") {
            let _ = parse(&name);
        }
    }

    #[test]
    fn names_of_whole_tensors_have_no_elements() {
        for name in ["exp_avg.a.weight", "a]", "a[1]", "a[..]", "a[1..b]", "[1..2"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
