//! Weights that are made, not stored: the values that `tests/golden/families.py` draws.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// How a tensor's values are made.
#[derive(Debug, Clone, Deserialize)]
struct Recipe {
    name: String,
    shape: Vec<usize>,
    seed: u64,
    base: f32,
    exponent: i32,
    /// Index of a value that is four times as large.
    outlier: Option<usize>,
}

/// A named tensor.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

impl Recipe {
    /// (2·byte − 255 + base) / 2^exponent for a byte of each index's hash (splitmix64).
    fn tensor(&self) -> Tensor {
        let count: usize = self.shape.iter().product();
        let scale = 2f32.powi(-self.exponent);
        let value = |index: usize| {
            let steps = 2.0 * f32::from(byte(index as u64 + (self.seed << 32))) - 255.0 + self.base;
            let factor = if self.outlier == Some(index) {
                4.0
            } else {
                1.0
            };
            steps * factor * scale
        };
        Tensor {
            name: self.name.clone(),
            shape: self.shape.clone(),
            values: (0..count).map(value).collect(),
        }
    }
}

fn byte(index: u64) -> u8 {
    let z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 56) as u8
}

/// The tensors that the recipes in a file make.
pub fn made(path: &Path) -> Vec<Tensor> {
    from_recipes(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
}

/// The tensors that a list of recipes makes.
pub fn from_recipes(recipes: Value) -> Vec<Tensor> {
    let recipes: Vec<Recipe> = serde_json::from_value(recipes).unwrap();
    recipes.iter().map(Recipe::tensor).collect()
}

/// The tensors of a BERT without a head: values between −1/4 and 1/4, weights of LayerNorm around 1.
pub fn bert(
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    positions: usize,
    layers: usize,
) -> Vec<Tensor> {
    let mut shapes = vec![
        (
            "embeddings.word_embeddings.weight".to_owned(),
            vec![vocab_size, hidden_size],
        ),
        (
            "embeddings.position_embeddings.weight".to_owned(),
            vec![positions, hidden_size],
        ),
        (
            "embeddings.token_type_embeddings.weight".to_owned(),
            vec![2, hidden_size],
        ),
    ];
    let mut layer = |name: String, shape: [usize; 2]| {
        shapes.push((format!("{name}.weight"), shape.to_vec()));
        shapes.push((format!("{name}.bias"), vec![shape[0]]));
    };
    for index in 0..layers {
        let of = |part: &str| format!("encoder.layer.{index}.{part}");
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            layer(of(&format!("attention.{part}")), [hidden_size, hidden_size]);
        }
        layer(of("intermediate.dense"), [intermediate_size, hidden_size]);
        layer(of("output.dense"), [hidden_size, intermediate_size]);
    }
    let norms = (0..layers).flat_map(|index| {
        let of = |part: &str| format!("encoder.layer.{index}.{part}.LayerNorm");
        [of("attention.output"), of("output")]
    });
    for name in norms.chain(["embeddings.LayerNorm".to_owned()]) {
        shapes.push((format!("{name}.weight"), vec![hidden_size]));
        shapes.push((format!("{name}.bias"), vec![hidden_size]));
    }
    let recipes = shapes.into_iter().enumerate().map(|(seed, (name, shape))| {
        let is_scale = name.ends_with("LayerNorm.weight");
        Recipe {
            name,
            shape,
            seed: seed as u64,
            base: if is_scale { 1024.0 } else { 0.0 },
            exponent: 10,
            outlier: None,
        }
    });
    recipes.map(|recipe| recipe.tensor()).collect()
}

/// A safetensors file of f32.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    for tensor in tensors {
        let start = data.len();
        data.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
        let entry =
            json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, data.len()]});
        header.insert(tensor.name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.append(&mut data);
    file
}
