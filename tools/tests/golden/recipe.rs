//! Weights that are drawn by a recipe instead of being stored: the same numbers as `tests/golden/heads.py` draws.

use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// `weights.json`.
#[derive(Deserialize)]
struct Recipe {
    seed: u64,
    /// Tensors that are not drawn.
    values: HashMap<String, Vec<f32>>,
    /// Name, shape, exponent, mean and shift of each.
    tensors: Vec<(String, Vec<usize>, i32, f32, u32)>,
}

/// Whole numbers from -1024 to 1023: the top 11 bits of splitmix64 at consecutive counters.
fn draw(seed: u64, tensor: u64, count: usize) -> impl Iterator<Item = i64> {
    let start = seed.wrapping_mul(1_000_003).wrapping_add(tensor) << 32;
    (1..=count as u64).map(move |counter| {
        let mut z = counter
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(start);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 53) as i64 - 1024
    })
}

/// Writes `model.safetensors` beside `weights.json`, in f32.
pub fn write_weights(folder: &Path) {
    let recipe: Recipe =
        serde_json::from_slice(&std::fs::read(folder.join("weights.json")).unwrap()).unwrap();
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (index, (name, shape, exponent, mean, shift)) in recipe.tensors.iter().enumerate() {
        let begin = data.len();
        let count = shape.iter().product();
        let step = 2f32.powi(*shift as i32 - exponent);
        let drawn: Vec<f32> = match recipe.values.get(name) {
            Some(values) => values.clone(),
            None => draw(recipe.seed, index as u64, count)
                .map(|number| (number >> shift) as f32 * step + mean)
                .collect(),
        };
        assert_eq!(drawn.len(), count, "{name}");
        data.extend(drawn.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.append(&mut data);
    std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
}
