//! Integer products by AMX tiles: 16 rows × 64 bytes against a panel's 16 × 64 weights, which are a tile as they lie in
//! the file. Stable Rust has no intrinsics for it, hence `asm!`.
//!
//! Weights of layers are loaded by `tileloaddt1`, which says that they are not needed again soon: they pass by, and would
//! drive rows and sums out of the first-level cache (products and the stores of their sums took a third longer). So are
//! attention's weights where its averages share the code, though they are read again for each 32 channels of a head.

use super::amx_tiles::{self as tiles, Square, Wide};
use super::avx512::Avx512;
use super::avx512_vnni;
use crate::product::{FullTile, MAX_TILE, Meanwhile, Product, Tile, TilePartials};
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
pub(super) const TILE: usize = 16;
/// Two tiles of rows against two of weights: four accumulators, and a load for each product, where one tile of rows against
/// four of weights needs five for four.
const MR: usize = 2 * TILE;
/// Few rows go one tile against four.
pub(super) const NR: usize = 4;
/// Most rows of one panel at a time in [`Product::tall`].
const TALL: usize = 4 * TILE;
/// Which tile shapes this thread's registers have: for so many rows, if any.
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
    /// For one tile of up to sixteen rows, or for one of sixteen and another of the rest. Two whole ones are shaped like one.
    #[inline(always)]
    fn shape(&mut self, rows: usize) {
        let rows = if rows == MR { TILE } else { rows };
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
        configuration.rows[..8].fill(TILE as u8);
        match rows.checked_sub(TILE + 1) {
            // `Wide`: four accumulators, the rows, three tiles of weights.
            None => configuration.rows[..5].fill(rows as u8),
            // `Square`: accumulators 0 to 3 are those of both tiles of rows in turns, which are 4 and 5.
            Some(more) => {
                for second in [1, 3, 5] {
                    configuration.rows[second] = more as u8 + 1;
                }
            }
        }
        // SAFETY: `Amx` proves the instruction; the operand is 64 bytes of a valid configuration.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &configuration, options(readonly, nostack, preserves_flags))
        };
    }
}

impl Product for Amx {
    type Lanes = Avx512;
    type State = Configured;
    type Partials = [TilePartials; 1];
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> Avx512 {
        // SAFETY: `self` proves more.
        unsafe { Avx512::assume() }
    }

    const TILE_ROWS: usize = TILE;
    /// Fewer go through AVX-512 VNNI: a tile takes about as long for one row as for sixteen. Nanoseconds a product for one, two
    /// and three rows: 16, 18, 20 by VNNI and 10 by tiles alone on the core; 21, 23, 25 and 39 with a busy neighbour. From three on
    /// what is gained in the one case is more than what is lost in the other.
    const LEAST_ROWS: usize = 3;
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
    fn multiply(self, state: &mut Configured, tile: Tile<'_>, accumulators: &mut [i32]) {
        tile.check(accumulators, Self::stride(tile.panels));
        if tile.rows < Self::LEAST_ROWS {
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
            state.shape(tile.rows);
            if tile.rows > TILE {
                tiles::products::<Square>(tile);
                tiles::store(accumulators, tiles::square_places(tile.rows, MR));
            } else {
                tiles::products::<Wide>(tile);
                let stride = Self::stride(tile.panels);
                tiles::store(accumulators, tiles::wide_places(tile.panels, stride));
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply_full<const N: usize, const DEPTH: usize>(
        self,
        state: &mut Configured,
        tile: FullTile,
        accumulators: &mut [i32; MAX_TILE],
        meanwhile: &mut impl Meanwhile,
    ) {
        const { assert!(N == 2 || N == NR) };
        state.shape(tile.rows);
        // SAFETY: the registers are shaped for the tile's rows, which go with so many panels, as the caller promises.
        unsafe {
            if N == 2 {
                tiles::full_products::<DEPTH>(Square::full(tile), meanwhile);
                tiles::store(accumulators, tiles::square_places(MR, MR));
            } else {
                tiles::full_products::<DEPTH>(Wide::full(tile), meanwhile);
                tiles::store(accumulators, tiles::wide_places(NR, TILE));
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
                    tiles::tall_products(tile);
                    tiles::store(accumulators, [0, TILE, 2 * TILE, 3 * TILE]);
                }
                _ => {
                    tiles::products::<Square>(tile);
                    tiles::store(accumulators, tiles::square_places(tile.rows, TALL / 2));
                }
            }
        }
    }
}
