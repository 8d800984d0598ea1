//! Every kernel of the build runs the whole suite against the generic one, bit for bit.

mod attention;
mod functions;
#[cfg(target_os = "linux")]
mod guard;
mod linear;
mod rows;
mod tiles;
mod vector;

use super::*;
use crate::product::{PackedLinear, groups};

/// Names of the kernels that must run, separated by commas; a test fails if this CPU cannot run one of them.
const REQUIRED: &str = "BERTLET_REQUIRE_KERNELS";

/// Runs a check with every kernel, and says which this CPU cannot run.
fn for_each_kernel(mut check: impl FnMut(Kernel)) {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    let mut missing = Vec::new();
    let mut not_run = 0;
    for name in Kernel::names() {
        match Kernel::by_name(name) {
            Ok(kernel) => check(kernel),
            Err(_) => {
                println!("kernel {name}: not run here");
                not_run += 1;
                if required.split(',').any(|required| required.trim() == name) {
                    missing.push(name);
                }
            }
        }
    }
    println!(
        "{} kernels run, {not_run} not run here",
        Kernel::names().count() - not_run
    );
    assert!(
        missing.is_empty(),
        "{REQUIRED} names kernels that cannot run here: {missing:?}"
    );
    for name in required
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        assert!(
            Kernel::names().any(|known| known == name),
            "{REQUIRED}: no kernel is called {name}"
        );
    }
}

/// All cases of a test; in Miri, which is thousands of times slower, a few.
fn cases<'a, T>(all: &'a [T], in_miri: &'a [T]) -> &'a [T] {
    if cfg!(miri) { in_miri } else { all }
}

fn generic() -> Kernel {
    Kernel::by_name("generic").expect("it runs everywhere")
}

#[test]
fn kernels_are_found_by_name() {
    for_each_kernel(|kernel| assert_eq!(Kernel::by_name(kernel.name()), Ok(kernel)));
    assert_eq!(Kernel::available().next(), Some(Kernel::detect()));
    let error = Kernel::by_name("abacus").unwrap_err();
    assert_eq!(error.name, "abacus");
    assert!(error.to_string().contains("generic"), "{error}");
}

/// Repeatable numbers without a crate: the high half of a multiplicative congruence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 32) as u32
    }

    /// In −1…1.
    fn unit(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 31) as f32 - 1.0
    }

    fn floats(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.unit() * scale).collect()
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    // Which NaN an operation gives is the one thing that CPUs differ in.
    x.iter()
        .map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() })
        .collect()
}

/// A linear layer that owns its parts, packed as in the file. Slices are exactly as long as the layer asks for.
struct Layer {
    panels: Vec<i8>,
    scale: Vec<f32>,
    column_sum: Vec<i32>,
    bias: Vec<f32>,
    /// `[n, k]`
    weights: Vec<i8>,
    n: usize,
    k: usize,
    group: usize,
}

/// Small, so that most rows have several groups.
const GROUP: usize = 64;

impl Layer {
    fn new(n: usize, k: usize, random: &mut Random, weight: impl FnMut(&mut Random) -> i8) -> Self {
        Layer::grouped([n, k], GROUP, random, weight)
    }

    fn grouped(
        [n, k]: [usize; 2],
        group: usize,
        random: &mut Random,
        mut weight: impl FnMut(&mut Random) -> i8,
    ) -> Self {
        let (panels, blocks) = (n.div_ceil(16), k.div_ceil(64));
        let weights: Vec<i8> = (0..n * k).map(|_| weight(random)).collect();
        let mut layer = Layer {
            panels: vec![0; panels * blocks * 1024],
            scale: vec![0.0; groups(k, group) * panels * 16],
            column_sum: vec![0; groups(k, group) * panels * 16],
            bias: vec![0.0; panels * 16],
            weights,
            n,
            k,
            group,
        };
        for column in 0..n {
            for scale in layer.scale.iter_mut().skip(column).step_by(panels * 16) {
                *scale = 0.001 + random.unit().abs() * 0.01;
            }
            layer.bias[column] = random.unit();
            for i in 0..k {
                let weight = layer.weights[column * k + i];
                layer.column_sum[i / group * panels * 16 + column] += i32::from(weight);
                let quad = column / 16 * blocks * 16 + i / 4;
                layer.panels[quad * 64 + column % 16 * 4 + i % 4] = weight;
            }
        }
        layer
    }

    fn packed(&self) -> PackedLinear<'_> {
        PackedLinear::new(
            &self.panels,
            &self.scale,
            &self.column_sum,
            &self.bias,
            [self.n, self.k],
            self.group,
        )
        .expect("lengths fit")
    }
}

fn quantized(kernel: Kernel, x: &[f32], rows: usize, k: usize) -> QuantizedRows {
    quantized_by(kernel, x, [rows, k], GROUP)
}

fn quantized_by(kernel: Kernel, x: &[f32], [rows, k]: [usize; 2], group: usize) -> QuantizedRows {
    let mut out = QuantizedRows::new();
    out.resize(rows, k, group);
    kernel.quantize_rows(Matrix::new(x, rows, k, k), None, out.view_mut());
    out
}
