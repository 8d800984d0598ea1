//! Where the time of a forward pass goes. A clock that does not run costs a branch for each block and stage.

use std::time::{Duration, Instant};

/// A part of the way from token ids to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The sum of word, position and segment embeddings, and its LayerNorm.
    Embeddings,
    /// The product that makes queries, keys and values.
    QueryKeyValue,
    /// Softmax(Q·Kᵀ/√d)·V, with what it quantizes.
    Attention,
    /// The product behind attention, and the residual.
    AttentionOutput,
    /// The feed-forward's first product, and the activation.
    Intermediate,
    /// The feed-forward's second product, and the residual.
    Output,
    /// The layers' LayerNorms, and the quantization of their results.
    LayerNorm,
    /// Quantization of the other inputs of products.
    Quantization,
    /// From hidden states to vectors or scores.
    Pooling,
}

impl Stage {
    /// All stages, in the order of the work.
    pub const ALL: [Stage; 9] = [
        Stage::Embeddings,
        Stage::QueryKeyValue,
        Stage::Attention,
        Stage::AttentionOutput,
        Stage::Intermediate,
        Stage::Output,
        Stage::LayerNorm,
        Stage::Quantization,
        Stage::Pooling,
    ];

    /// The stage's name, as reports show it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Embeddings => "embeddings",
            Stage::QueryKeyValue => "query, key, value",
            Stage::Attention => "attention",
            Stage::AttentionOutput => "attention output",
            Stage::Intermediate => "feed-forward up",
            Stage::Output => "feed-forward down",
            Stage::LayerNorm => "LayerNorm",
            Stage::Quantization => "quantization",
            Stage::Pooling => "pooling",
        }
    }
}

/// How long each stage took, all layers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile {
    times: [Duration; Stage::ALL.len()],
}

impl Profile {
    /// Time spent in a stage.
    pub fn time(&self, stage: Stage) -> Duration {
        self.times[stage as usize]
    }
}

/// Measures stages from lap to lap, or nothing at all.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    last: Instant,
    profile: Profile,
}

impl Clock {
    /// Measures from now on, beginning with zeros.
    pub(crate) fn run(&mut self) {
        self.running = Some(Running {
            last: Instant::now(),
            profile: Profile::default(),
        });
    }

    /// What was measured; the clock stands still again. Zeros if it did not run.
    pub(crate) fn stop(&mut self) -> Profile {
        let running = self.running.take();
        running.map_or_else(Profile::default, |running| running.profile)
    }

    /// What comes next begins now: the time since the last lap belongs to nobody.
    #[inline]
    pub(crate) fn begin(&mut self) {
        if let Some(running) = &mut self.running {
            running.last = Instant::now();
        }
    }

    /// The time since the last lap was spent in `stage`.
    #[inline]
    pub(crate) fn lap(&mut self, stage: Stage) {
        if let Some(running) = &mut self.running {
            let now = Instant::now();
            running.profile.times[stage as usize] += now - running.last;
            running.last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_counted_in_their_order() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
        }
    }

    #[test]
    fn laps_add_up_to_no_more_than_the_whole() {
        let mut clock = Clock::default();
        clock.lap(Stage::Attention);
        assert_eq!(
            clock.stop(),
            Profile::default(),
            "a clock that stands measures nothing"
        );
        let began = Instant::now();
        clock.run();
        for stage in Stage::ALL {
            std::thread::sleep(Duration::from_micros(100));
            clock.lap(stage);
        }
        std::thread::sleep(Duration::from_millis(1));
        clock.begin();
        clock.lap(Stage::Pooling);
        let profile = clock.stop();
        let sum: Duration = Stage::ALL.iter().map(|stage| profile.time(*stage)).sum();
        assert!(
            Stage::ALL
                .iter()
                .all(|stage| profile.time(*stage) >= Duration::from_micros(100))
        );
        assert!(sum + Duration::from_millis(1) <= began.elapsed());
        assert_eq!(clock.stop(), Profile::default());
    }
}
