//! `gemm` behind checked slices.

use gemm::Parallelism;

/// The threads of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cores {
    /// The calling thread, inside a parallel loop.
    One,
    /// All of rayon's.
    All,
}

impl Cores {
    fn parallelism(self) -> Parallelism {
        match self {
            Self::One => Parallelism::None,
            Self::All => Parallelism::Rayon(0),
        }
    }
}

/// `to = left · right` (or `to += …`) for `[m, n, k]`; `to` has `row` numbers between rows, operands `[row, column]`
/// strides.
#[allow(clippy::too_many_arguments)]
pub(crate) fn matmul(
    to: &mut [f32],
    [m, n, k]: [usize; 3],
    row: usize,
    (left, left_strides): (&[f32], [usize; 2]),
    (right, right_strides): (&[f32], [usize; 2]),
    add: bool,
    cores: Cores,
) {
    let reach =
        |[rows, columns]: [usize; 2], [row, column]: [usize; 2]| (rows - 1) * row + (columns - 1) * column;
    assert!(m > 0 && n > 0 && k > 0, "product of empty matrices");
    assert!(to.len() > reach([m, n], [row, 1]), "result too short");
    assert!(
        left.len() > reach([m, k], left_strides) && right.len() > reach([k, n], right_strides),
        "operand too short"
    );
    // SAFETY: the lengths were just checked against the strides, and `to` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            row as isize,
            add,
            left.as_ptr(),
            left_strides[1] as isize,
            left_strides[0] as isize,
            right.as_ptr(),
            right_strides[1] as isize,
            right_strides[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            cores.parallelism(),
        );
    }
}
