//! Kernels one by one: `cargo bench --bench kernels`, or with a filter, as in `cargo bench --bench kernels -- linear`.
//!
//! Products count multiply-adds; `cargo bench --bench peak` says what share that is of what the CPU can do at all. Compare
//! the fastest samples of one run: clock and neighbours change between runs.

use bertlet::kernels::{
    Activation, Aligned, AttentionScratch, Epilogue, Kernel, Matrix, MatrixMut, PackedLinear,
    QuantizedRows,
};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Kernels that this CPU can run, less the plain one, which is no yardstick.
fn kernels() -> Vec<&'static str> {
    Kernel::available()
        .map(|kernel| kernel.name())
        .filter(|&name| name != "generic")
        .collect()
}

fn kernel(name: &str) -> Kernel {
    Kernel::by_name(name).expect("listed as available")
}

/// Inputs that share a range, as in a converted model.
const GROUP: usize = 384;

/// A layer's parts; the weights begin on a cache line, as they do in a model file.
struct Layer {
    panels: Vec<i8>,
    offset: usize,
    scale: Vec<f32>,
    column_sum: Vec<i32>,
    n: usize,
    k: usize,
}

impl Layer {
    fn new(n: usize, k: usize) -> Self {
        let panels: Vec<i8> = (0..n * k + 64).map(|i| (i % 251) as i8).collect();
        let offset = panels.as_ptr().align_offset(64);
        Layer {
            panels,
            offset,
            scale: vec![0.001; n * k.div_ceil(GROUP)],
            column_sum: vec![77; n * k.div_ceil(GROUP)],
            n,
            k,
        }
    }

    fn packed(&self) -> PackedLinear<'_> {
        let panels = &self.panels[self.offset..][..self.n * self.k];
        PackedLinear::new(
            panels,
            &self.scale,
            &self.column_sum,
            &self.scale[..self.n],
            [self.n, self.k],
            GROUP,
        )
        .expect("multiples of 64")
    }
}

/// As the encoder's, these begin on a cache line.
fn values(n: usize) -> Aligned<f32> {
    let mut values = Aligned::new();
    values.grow(n);
    for (i, value) in values.iter_mut().enumerate() {
        *value = (i * 7919 % 977) as f32 * 0.008 - 4.0;
    }
    values
}

fn quantized(kernel: Kernel, rows: usize, k: usize) -> QuantizedRows {
    let mut out = QuantizedRows::new();
    out.resize(rows, k, GROUP);
    kernel.quantize_rows(
        Matrix::new(&values(rows * k), rows, k, k),
        None,
        out.view_mut(),
    );
    out
}

fn bench_linear(bencher: Bencher, name: &str, [m, k, n]: [usize; 3], epilogue: Epilogue) {
    let (kernel, layer) = (kernel(name), Layer::new(n, k));
    let a = quantized(kernel, m, k);
    let mut out = values(m * n);
    bencher.counter(ItemsCount::new(m * n * k)).bench_local(|| {
        kernel.linear(
            a.view(),
            layer.packed(),
            epilogue,
            MatrixMut::new(&mut out, m, n, n),
        )
    });
}

/// Dequantized product and bias.
#[divan::bench_group(sample_count = 200)]
mod linear {
    use super::*;

    #[divan::bench(args = kernels())]
    fn up_1(bencher: Bencher, name: &str) {
        bench_linear(
            bencher,
            name,
            [1, 384, 1536],
            Epilogue::Store(Activation::Identity),
        );
    }

    #[divan::bench(args = kernels())]
    fn up_16(bencher: Bencher, name: &str) {
        bench_linear(
            bencher,
            name,
            [16, 384, 1536],
            Epilogue::Store(Activation::Identity),
        );
    }

    #[divan::bench(args = kernels())]
    fn up_128(bencher: Bencher, name: &str) {
        bench_linear(
            bencher,
            name,
            [128, 384, 1536],
            Epilogue::Store(Activation::Identity),
        );
    }

    #[divan::bench(args = kernels())]
    fn up_128_gelu(bencher: Bencher, name: &str) {
        bench_linear(
            bencher,
            name,
            [128, 384, 1536],
            Epilogue::Store(Activation::Gelu),
        );
    }

    #[divan::bench(args = kernels())]
    fn down_16(bencher: Bencher, name: &str) {
        bench_linear(bencher, name, [16, 1536, 384], Epilogue::Accumulate);
    }

    #[divan::bench(args = kernels())]
    fn down_128(bencher: Bencher, name: &str) {
        bench_linear(bencher, name, [128, 1536, 384], Epilogue::Accumulate);
    }

    #[divan::bench(args = kernels())]
    fn square_128(bencher: Bencher, name: &str) {
        bench_linear(bencher, name, [128, 384, 384], Epilogue::Accumulate);
    }
}

/// The feed-forward's first half: product, GELU and the next layer's bytes.
#[divan::bench(args = kernels(), sample_count = 200)]
fn linear_and_quantize_128(bencher: Bencher, name: &str) {
    let (kernel, layer, scale) = (kernel(name), Layer::new(1536, 384), vec![1.0; 1536]);
    let a = quantized(kernel, 128, 384);
    let mut out = QuantizedRows::new();
    out.resize(128, 1536, GROUP);
    let mut buffer = Aligned::new();
    bencher
        .counter(ItemsCount::new(128 * 384 * 1536usize))
        .bench_local(|| {
            let then = (Activation::Gelu, &scale[..]);
            kernel.linear_quantize(a.view(), layer.packed(), then, &mut buffer, out.view_mut());
        });
}

/// Elements of 128 rows.
#[divan::bench_group(sample_count = 200)]
mod rows {
    use super::*;

    const SHAPE: [usize; 2] = [128, 384];

    #[divan::bench(args = kernels())]
    fn gelu(bencher: Bencher, name: &str) {
        let kernel = kernel(name);
        let x = values(128 * 384);
        let mut y = x.to_vec();
        bencher.counter(ItemsCount::new(x.len())).bench_local(|| {
            y.copy_from_slice(&x);
            kernel.activation(&mut y, Activation::Gelu);
        });
    }

    #[divan::bench(args = kernels())]
    fn quantize(bencher: Bencher, name: &str) {
        let (kernel, [m, n]) = (kernel(name), SHAPE);
        let (x, scale) = (values(m * n), vec![1.0; n]);
        let mut out = QuantizedRows::new();
        out.resize(m, n, GROUP);
        bencher.counter(ItemsCount::new(m * n)).bench_local(|| {
            kernel.quantize_rows(Matrix::new(&x, m, n, n), Some(&scale), out.view_mut())
        });
    }

    #[divan::bench(args = kernels())]
    fn layer_norm(bencher: Bencher, name: &str) {
        let (kernel, [m, n]) = (kernel(name), SHAPE);
        let (mut x, weight) = (values(m * n), vec![1.0; n]);
        bencher.counter(ItemsCount::new(m * n)).bench_local(|| {
            kernel.layer_norm(MatrixMut::new(&mut x, m, n, n), &weight, &weight, 1e-12)
        });
    }

    #[divan::bench(args = kernels())]
    fn layer_norm_quantize(bencher: Bencher, name: &str) {
        let (kernel, [m, n]) = (kernel(name), SHAPE);
        let (mut x, weight) = (values(m * n), vec![1.0; n]);
        let mut out = QuantizedRows::new();
        out.resize(m, n, GROUP);
        bencher.counter(ItemsCount::new(m * n)).bench_local(|| {
            let x = MatrixMut::new(&mut x, m, n, n);
            kernel.layer_norm_quantize(x, &weight, &weight, 1e-12, Some(&weight), out.view_mut());
        });
    }

    #[divan::bench(args = kernels())]
    fn softmax(bencher: Bencher, name: &str) {
        let (kernel, [m, n]) = (kernel(name), SHAPE);
        let mut x = values(m * n);
        bencher
            .counter(ItemsCount::new(m * n))
            .bench_local(|| kernel.softmax_rows(MatrixMut::new(&mut x, m, n, n), 0.2));
    }
}

/// All 12 heads of 32 of a layer; counts tokens.
#[divan::bench_group(sample_count = 100)]
mod attention {
    use super::*;

    fn bench(bencher: Bencher, name: &str, tokens: usize) {
        let (kernel, heads, size) = (kernel(name), 12, 32);
        let (x, hidden) = (values(tokens * 3 * heads * size), heads * size);
        let mut out = values(tokens * hidden);
        let mut scratch = AttentionScratch::default();
        bencher.counter(ItemsCount::new(tokens)).bench_local(|| {
            for head in 0..heads {
                let part = |part: usize| {
                    Matrix::new(&x[part * hidden + head * size..], tokens, size, 3 * hidden)
                };
                let out = MatrixMut::new(&mut out[head * size..], tokens, size, hidden);
                kernel.attention([0, 1, 2].map(part), 1, 0.177, &mut scratch, out);
            }
        });
    }

    #[divan::bench(args = kernels())]
    fn of_16(bencher: Bencher, name: &str) {
        bench(bencher, name, 16);
    }

    #[divan::bench(args = kernels())]
    fn of_128(bencher: Bencher, name: &str) {
        bench(bencher, name, 128);
    }

    #[divan::bench(args = kernels())]
    fn of_512(bencher: Bencher, name: &str) {
        bench(bencher, name, 512);
    }
}
