//! Integer products by AMX tiles: 16 rows × 64 bytes against a panel's 16 × 64 weights, which are a tile as they lie in
//! the file. Stable Rust has no intrinsics for it, hence `asm!`.
//!
//! Weights of layers are loaded by `tileloaddt1`, which says that they are not needed again soon: they pass by, and would
//! drive rows and sums out of the first-level cache (products and the stores of their sums took a third longer). So are
//! attention's weights where its averages share the code, though they are read again for each 32 channels of a head.

use super::avx512::Avx512;
use super::avx512_vnni;
use crate::lanes::LANES;
use crate::product::{Meanwhile, Nothing, Product, Tile};
use crate::quantized::Block;
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Proof of AMX tiles with 8-bit products, of the operating system's permission to use them, and of AVX-512 with VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Amx(());

impl Amx {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Amx(())
    }
}

/// Whether the CPU has the instructions and the operating system lets this process use them: Linux wants to be asked
/// once, for all threads.
pub(crate) fn supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| avx512_vnni::supported() && cpu_has_tiles() && permitted())
}

fn cpu_has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const TILE_STATE: u32 = 1 << 17 | 1 << 18;
    let found = __cpuid(0).eax >= 7
        && __cpuid(1).ecx & OSXSAVE != 0
        && __cpuid_count(7, 0).edx & AMX_TILE_AND_INT8 == AMX_TILE_AND_INT8;
    if !found {
        return false;
    }
    let saved: u32;
    // SAFETY: OSXSAVE says that XGETBV exists; it reads which state the operating system saves.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack, preserves_flags))
    };
    saved & TILE_STATE == TILE_STATE
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the system call takes two numbers and touches no memory of ours; `syscall` overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Rows of a tile register.
const TILE: usize = 16;
/// Two tiles of rows against two of weights: four accumulators, and a load for each product, where one tile of rows against
/// four of weights needs five for four.
const MR: usize = 2 * TILE;
/// Few rows go one tile against four.
const NR: usize = 4;
/// Most rows of one panel at a time in [`Product::tall`].
const TALL: usize = 4 * TILE;
/// Fewer rows than this go through AVX-512 VNNI: a tile takes as long for one row as for sixteen.
const MIN_ROWS: usize = 4;

/// Which tile shapes this thread's registers have.
#[derive(Default)]
pub(crate) struct Configured {
    rows: usize,
}

impl Drop for Configured {
    #[inline(always)]
    fn drop(&mut self) {
        if self.rows > 0 {
            // SAFETY: something configured the tiles, so the instruction exists. Released tiles cost no time when the
            // operating system switches threads.
            unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
        }
    }
}

/// The operand of `ldtilecfg`, palette 1.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configured {
    #[inline(always)]
    fn shape(&mut self, rows: usize) {
        if self.rows == rows {
            return;
        }
        self.rows = rows;
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        configuration.row_bytes[..8].fill(64);
        // Four accumulators, the rows, three tiles of weights.
        configuration.rows[..5].fill(rows as u8);
        configuration.rows[5..8].fill(16);
        // SAFETY: `Amx` proves the instruction; the operand is 64 bytes of a valid configuration.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &configuration, options(readonly, nostack, preserves_flags))
        };
    }
}

impl Product for Amx {
    type Lanes = Avx512;
    type State = Configured;
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> Avx512 {
        // SAFETY: `self` proves more.
        unsafe { Avx512::assume() }
    }

    const TILE_ROWS: usize = TILE;
    /// A block of one tile's height leaves room for sums and results beside its rows in a first-level cache of 48 KiB: with
    /// 64 rows, layers of 384 outputs took a tenth longer, though weights then came half as often from the second level.
    const BLOCK_ROWS: usize = MR;

    #[inline(always)]
    fn panels(rows: usize) -> usize {
        if rows > TILE { 2 } else { NR }
    }

    #[inline(always)]
    fn stride(panels: usize) -> usize {
        if panels > 2 { TILE } else { MR }
    }

    #[inline(always)]
    fn multiply(
        self,
        state: &mut Configured,
        tile: Tile<'_>,
        accumulators: &mut [i32],
        meanwhile: &mut impl Meanwhile,
    ) {
        tile.check(accumulators, Self::stride(tile.panels));
        if tile.rows < MIN_ROWS {
            // SAFETY: `self` proves VNNI too.
            return unsafe {
                match tile.panels {
                    1 | 2 => avx512_vnni::multiply::<MR>(tile, accumulators),
                    _ => avx512_vnni::multiply::<TILE>(tile, accumulators),
                }
            };
        }
        // SAFETY: the tile passed its check and the registers have its shape.
        unsafe {
            if tile.rows > TILE {
                state.shape(TILE);
                square_products(tile, meanwhile);
                store(accumulators, square_places(tile.rows, MR));
            } else {
                state.shape(tile.rows);
                wide_products(tile, meanwhile);
                let stride = Self::stride(tile.panels);
                store(
                    accumulators,
                    [0, 1, 2, 3].map(|panel| panel.min(tile.panels - 1) * stride),
                );
            }
        }
    }

    #[inline(always)]
    fn tall_rows(panels: usize) -> usize {
        TALL / panels
    }

    #[inline(always)]
    fn tall(self, state: &mut Configured, tile: Tile<'_>, accumulators: &mut [i32]) {
        tile.check(accumulators, Self::tall_rows(tile.panels));
        assert!(tile.rows.is_multiple_of(TILE));
        state.shape(TILE);
        // SAFETY: the tile passed its check, its rows are whole tiles, and the registers have their shape.
        unsafe {
            match tile.panels {
                1 => {
                    tall_products(tile);
                    store(accumulators, [0, TILE, 2 * TILE, 3 * TILE]);
                }
                _ => {
                    square_products(tile, &mut Nothing);
                    store(accumulators, square_places(tile.rows, TALL / 2));
                }
            }
        }
    }
}

/// Where the results of [`square_products`] begin, in rows of sixteen, with `stride` of them from panel to panel.
#[inline(always)]
fn square_places(rows: usize, stride: usize) -> [usize; 4] {
    // The second tile ends with the last row, where the rows are not two tiles.
    let second = rows.saturating_sub(TILE).min(TILE);
    [0, second, stride, stride + second]
}

/// Stores the accumulating tiles where `places` says, in rows of sixteen.
///
/// # Safety
/// The tile registers are shaped.
#[inline(always)]
unsafe fn store(accumulators: &mut [i32], places: [usize; 4]) {
    for place in places {
        assert!(accumulators.len() >= (place + TILE) * LANES);
    }
    let to = accumulators.as_mut_ptr();
    // SAFETY: each store fills at most 16 × 16 from its place on.
    unsafe {
        asm!(
            "tilestored [{a} + {line}], tmm0",
            "tilestored [{b} + {line}], tmm1",
            "tilestored [{c} + {line}], tmm2",
            "tilestored [{d} + {line}], tmm3",
            a = in(reg) to.add(places[0] * LANES),
            b = in(reg) to.add(places[1] * LANES),
            c = in(reg) to.add(places[2] * LANES),
            d = in(reg) to.add(places[3] * LANES),
            line = in(reg) 64usize,
            options(nostack, preserves_flags),
        );
    }
}

/// Where tile `index` of a multiple of sixteen rows begins; the last one stands for those behind it.
#[inline(always)]
fn sixteen_rows(tile: Tile<'_>, index: usize) -> *const Block {
    let first = (index * TILE).min(tile.rows - TILE);
    tile.rows_of_blocks[first * tile.row_stride..].as_ptr()
}

/// Products of up to four tiles of rows with one panel. Rows that the tile lacks repeat its last ones.
///
/// # Safety
/// The tile registers are shaped for sixteen rows, and the tile passed its check with a multiple of them.
#[inline(always)]
unsafe fn tall_products(tile: Tile<'_>) {
    let rows = |index: usize| sixteen_rows(tile, index);
    // SAFETY: loads stay in the tile's rows and its panel, `depth` blocks each.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{b} + {line}]",
            "tileloadd tmm5, [{a0} + {stride}]",
            "tdpbusd tmm0, tmm5, tmm4",
            "tileloadd tmm6, [{a1} + {stride}]",
            "tdpbusd tmm1, tmm6, tmm4",
            "tileloadd tmm7, [{a2} + {stride}]",
            "tdpbusd tmm2, tmm7, tmm4",
            "tileloadd tmm5, [{a3} + {stride}]",
            "tdpbusd tmm3, tmm5, tmm4",
            "add {b}, 1024",
            "add {a0}, 64",
            "add {a1}, 64",
            "add {a2}, 64",
            "add {a3}, 64",
            "dec {depth}",
            "jnz 2b",
            b = inout(reg) tile.panel(0).as_ptr() => _,
            a0 = inout(reg) rows(0) => _,
            a1 = inout(reg) rows(1) => _,
            a2 = inout(reg) rows(2) => _,
            a3 = inout(reg) rows(3) => _,
            depth = inout(reg) tile.depth => _,
            stride = in(reg) tile.row_stride * 64,
            line = in(reg) 64usize,
            options(nostack, readonly),
        );
    }
}

/// Products of two tiles of rows with up to two panels: accumulators 0 and 1 are those of the first panel. What the tile
/// lacks repeats its last rows and its last panel.
///
/// # Safety
/// The tile registers are shaped for sixteen rows, and the tile passed its check with sixteen at least.
#[inline(always)]
unsafe fn square_products(tile: Tile<'_>, meanwhile: &mut impl Meanwhile) {
    let rows = [sixteen_rows(tile, 0), sixteen_rows(tile, 1)];
    let panels = [0, 1].map(|index: usize| tile.panel(index.min(tile.panels - 1)).as_ptr());
    let (line, stride) = (64usize, tile.row_stride * 64);
    // SAFETY: loads stay in the tile's rows and panels, `depth` blocks each.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nomem, nostack, preserves_flags),
        );
        for block in 0..tile.depth {
            let weights = block * 64 * LANES;
            asm!(
                "tileloadd tmm4, [{rows} + {stride}]",
                "tileloaddt1 tmm6, [{b} + {line}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{more} + {stride}]",
                "tdpbusd tmm1, tmm5, tmm6",
                rows = in(reg) rows[0].add(block),
                more = in(reg) rows[1].add(block),
                stride = in(reg) stride,
                b = in(reg) panels[0].add(weights),
                line = in(reg) line,
                options(nostack, readonly, preserves_flags),
            );
            meanwhile.part();
            asm!(
                "tileloaddt1 tmm7, [{b} + {line}]",
                "tdpbusd tmm2, tmm4, tmm7",
                "tdpbusd tmm3, tmm5, tmm7",
                b = in(reg) panels[1].add(weights),
                line = in(reg) line,
                options(nostack, readonly, preserves_flags),
            );
            meanwhile.part();
        }
    }
}

/// Products of one tile of rows with up to four panels. A panel that the tile lacks repeats its last one.
///
/// # Safety
/// The tile registers are shaped for the tile's rows, and the tile passed its check.
#[inline(always)]
unsafe fn wide_products(tile: Tile<'_>, meanwhile: &mut impl Meanwhile) {
    let panel = |index: usize| tile.panel(index.min(tile.panels - 1)).as_ptr();
    let panels = [panel(0), panel(1), panel(2), panel(3)];
    let (line, stride) = (64usize, tile.row_stride * 64);
    // SAFETY: loads stay in the tile's rows and panels, `depth` blocks each.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nomem, nostack, preserves_flags),
        );
        for block in 0..tile.depth {
            let weights = block * 64 * LANES;
            asm!(
                "tileloadd tmm4, [{rows} + {stride}]",
                "tileloaddt1 tmm5, [{b} + {line}]",
                "tdpbusd tmm0, tmm4, tmm5",
                "tileloaddt1 tmm6, [{more} + {line}]",
                "tdpbusd tmm1, tmm4, tmm6",
                rows = in(reg) tile.rows_of_blocks.as_ptr().add(block),
                stride = in(reg) stride,
                b = in(reg) panels[0].add(weights),
                more = in(reg) panels[1].add(weights),
                line = in(reg) line,
                options(nostack, readonly, preserves_flags),
            );
            meanwhile.part();
            asm!(
                "tileloaddt1 tmm7, [{b} + {line}]",
                "tdpbusd tmm2, tmm4, tmm7",
                "tileloaddt1 tmm5, [{more} + {line}]",
                "tdpbusd tmm3, tmm4, tmm5",
                b = in(reg) panels[2].add(weights),
                more = in(reg) panels[3].add(weights),
                line = in(reg) line,
                options(nostack, readonly, preserves_flags),
            );
            meanwhile.part();
        }
    }
}
