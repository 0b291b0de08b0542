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

/// A matrix in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    /// Numbers from one row to the next, and from one column to the next.
    pub strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Dense rows that begin `stride` numbers apart.
    pub(crate) fn rows(data: &'a [f32], stride: usize) -> Self {
        let strides = [stride, 1];
        Self { data, strides }
    }

    pub(crate) fn transposed(self) -> Self {
        let [row, column] = self.strides;
        let strides = [column, row];
        Self { strides, ..self }
    }
}

/// `to = left · right` (or `to += …`) for `[m, n, k]`: `[m, k]` times `[k, n]` into the dense `[m, n]`.
pub(crate) fn matmul(
    to: &mut [f32],
    [m, n, k]: [usize; 3],
    left: Matrix<'_>,
    right: Matrix<'_>,
    add: bool,
    cores: Cores,
) {
    let fits = |matrix: Matrix<'_>, [rows, columns]: [usize; 2]| {
        let [row, column] = matrix.strides;
        matrix.data.len() > (rows - 1) * row + (columns - 1) * column
    };
    assert!(m > 0 && n > 0 && k > 0, "product of empty matrices");
    assert!(to.len() >= m * n, "result too short");
    assert!(fits(left, [m, k]) && fits(right, [k, n]), "operand too short");
    // SAFETY: the lengths were just checked against the strides, and `to` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            n as isize,
            add,
            left.data.as_ptr(),
            left.strides[1] as isize,
            left.strides[0] as isize,
            right.data.as_ptr(),
            right.strides[1] as isize,
            right.strides[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            match cores {
                Cores::One => Parallelism::None,
                Cores::All => Parallelism::Rayon(0),
            },
        );
    }
}
