//! What share of the instruction set's peak each kernel's products reach: `cargo bench --bench peak`, or with the number
//! of rounds, as in `cargo bench --bench peak -- 500`.
//!
//! The peak is a loop of nothing but the kernel's product instruction on registers. Each round times it, then the
//! products of one layer alone (no dequantization; weights and rows in the second-level cache), then the whole linear
//! layer, so that all see the same clock; the fastest of each over all rounds are compared. An operation is a
//! multiplication or an addition.

use bertlet::kernels::{
    Activation, Epilogue, Kernel, Matrix, MatrixMut, PackedLinear, QuantizedRows,
};
use std::time::Instant;

/// Rows, inputs and outputs.
const SHAPES: [[usize; 3]; 2] = [[128, 1536, 384], [128, 384, 1536]];
/// Inputs that share a range, as in a converted model.
const GROUP: usize = 384;
/// Turns of the peak's loop: about 20 µs.
const TURNS: usize = 10_000;

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok());
    let rounds: usize = rounds.unwrap_or(300);
    println!(
        "| kernel | instruction | rows × k × n | group | peak, GOPS | products, GOPS | share | whole layer, GOPS | share |"
    );
    println!("|---|---|---|--:|--:|--:|--:|--:|--:|");
    for kernel in Kernel::available() {
        for instruction in instructions(kernel.name()) {
            for [m, k, n] in SHAPES {
                for group in [GROUP, k] {
                    let [peak, products, layer] =
                        measure(kernel, instruction, [m, k, n], group, rounds);
                    println!(
                        "| `{}` | {instruction} | {m} × {k} × {n} | {group} | {peak:.0} | {products:.0} | {:.0} % | {layer:.0} | {:.0} % |",
                        kernel.name(),
                        100.0 * products / peak,
                        100.0 * layer / peak,
                    );
                }
            }
        }
    }
}

/// GOPS of the instruction, the products and the layer.
fn measure(
    kernel: Kernel,
    instruction: &str,
    [m, k, n]: [usize; 3],
    group: usize,
    rounds: usize,
) -> [f64; 3] {
    let panels: Vec<i8> = (0..n * k + 64).map(|i| (i % 251) as i8).collect();
    // Weights begin on a cache line, as they do in a model file.
    let panels = &panels[panels.as_ptr().align_offset(64)..][..n * k];
    let groups = k.div_ceil(group);
    let (scale, column_sum) = (vec![0.001; n * groups], vec![77; n * groups]);
    let w = PackedLinear::new(panels, &scale, &column_sum, &scale[..n], [n, k], group)
        .expect("multiples of 64");
    let x: Vec<f32> = (0..m * k)
        .map(|i| (i * 7919 % 977) as f32 * 0.008 - 4.0)
        .collect();
    let mut a = QuantizedRows::new();
    a.resize(m, k, group);
    kernel.quantize_rows(Matrix::new(&x, m, k, k), None, a.view_mut());
    let mut out = vec![0.0; m * n];
    let mut fastest = [f64::INFINITY; 3];
    let mut operations = 0;
    for _ in 0..rounds {
        let seconds = [
            time(|| operations = peak(instruction, TURNS)),
            time(|| kernel.products(a.view(), w)),
            time(|| {
                let out = MatrixMut::new(&mut out, m, n, n);
                kernel.linear(a.view(), w, Epilogue::Store(Activation::Identity), out);
            }),
        ];
        for (fastest, seconds) in fastest.iter_mut().zip(seconds) {
            *fastest = fastest.min(seconds);
        }
    }
    let layer = 2 * m * k * n;
    let operations = [operations, layer, layer];
    std::array::from_fn(|i| operations[i] as f64 / fastest[i] / 1e9)
}

fn time(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// The product instructions of a kernel, one or several ways to see its peak.
fn instructions(kernel: &str) -> &'static [&'static str] {
    match kernel {
        "amx" => &["tdpbusd"],
        "avx512-vnni" => &["vpdpbusd zmm"],
        "avx-vnni" => &["vpdpbusd ymm"],
        // AVX2 has no product that accumulates: every product needs an addition beside it.
        "avx2" => &["vpmaddwd ymm", "vpmaddwd ymm, vpaddd ymm"],
        _ => &[],
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn peak(instruction: &str, _: usize) -> usize {
    unreachable!("no kernel here has {instruction}")
}

/// Runs `turns` turns of a loop of an instruction that this CPU has; returns the operations.
#[cfg(target_arch = "x86_64")]
fn peak(instruction: &str, turns: usize) -> usize {
    use std::arch::asm;
    // Independent accumulators enough to hide the latency, in registers all.
    macro_rules! repeat {
        ($operations:expr, $($instruction:literal),*) => {{
            // SAFETY: a kernel with these instructions is available; registers are declared.
            unsafe {
                asm!(
                    "2:", $($instruction,)* "dec {n}", "jnz 2b", n = inout(reg) turns => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, options(nostack, nomem),
                )
            };
            2 * turns * $operations
        }};
    }
    match instruction {
        "tdpbusd" => {
            #[repr(align(64))]
            struct Configuration([u8; 64]);
            let mut tiles = Configuration([0; 64]);
            tiles.0[0] = 1;
            for tile in 0..8 {
                tiles.0[16 + 2 * tile] = 64;
                tiles.0[48 + tile] = 16;
            }
            // SAFETY: the kernel `amx` is available, so the instructions are; the operand is a valid configuration.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &tiles, options(nostack)) };
            let operations = repeat!(
                4 * 16384,
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7"
            );
            // SAFETY: as above.
            unsafe { asm!("tilerelease", options(nostack)) };
            operations
        }
        "vpdpbusd zmm" => repeat!(
            12 * 64,
            "vpdpbusd zmm0, zmm12, zmm13",
            "vpdpbusd zmm1, zmm12, zmm13",
            "vpdpbusd zmm2, zmm12, zmm13",
            "vpdpbusd zmm3, zmm12, zmm13",
            "vpdpbusd zmm4, zmm12, zmm13",
            "vpdpbusd zmm5, zmm12, zmm13",
            "vpdpbusd zmm6, zmm12, zmm13",
            "vpdpbusd zmm7, zmm12, zmm13",
            "vpdpbusd zmm8, zmm12, zmm13",
            "vpdpbusd zmm9, zmm12, zmm13",
            "vpdpbusd zmm10, zmm12, zmm13",
            "vpdpbusd zmm11, zmm12, zmm13"
        ),
        "vpdpbusd ymm" => repeat!(
            12 * 32,
            "{{vex}} vpdpbusd ymm0, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm1, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm2, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm3, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm4, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm5, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm6, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm7, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm8, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm9, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm10, ymm12, ymm13",
            "{{vex}} vpdpbusd ymm11, ymm12, ymm13"
        ),
        "vpmaddwd ymm" => repeat!(
            12 * 16,
            "vpmaddwd ymm0, ymm12, ymm13",
            "vpmaddwd ymm1, ymm12, ymm13",
            "vpmaddwd ymm2, ymm12, ymm13",
            "vpmaddwd ymm3, ymm12, ymm13",
            "vpmaddwd ymm4, ymm12, ymm13",
            "vpmaddwd ymm5, ymm12, ymm13",
            "vpmaddwd ymm6, ymm12, ymm13",
            "vpmaddwd ymm7, ymm12, ymm13",
            "vpmaddwd ymm8, ymm12, ymm13",
            "vpmaddwd ymm9, ymm12, ymm13",
            "vpmaddwd ymm10, ymm12, ymm13",
            "vpmaddwd ymm11, ymm12, ymm13"
        ),
        "vpmaddwd ymm, vpaddd ymm" => repeat!(
            6 * 16,
            "vpmaddwd ymm6, ymm12, ymm13",
            "vpaddd ymm0, ymm0, ymm6",
            "vpmaddwd ymm7, ymm12, ymm13",
            "vpaddd ymm1, ymm1, ymm7",
            "vpmaddwd ymm8, ymm12, ymm13",
            "vpaddd ymm2, ymm2, ymm8",
            "vpmaddwd ymm9, ymm12, ymm13",
            "vpaddd ymm3, ymm3, ymm9",
            "vpmaddwd ymm10, ymm12, ymm13",
            "vpaddd ymm4, ymm4, ymm10",
            "vpmaddwd ymm11, ymm12, ymm13",
            "vpaddd ymm5, ymm5, ymm11"
        ),
        other => unreachable!("no loop of {other}"),
    }
}
