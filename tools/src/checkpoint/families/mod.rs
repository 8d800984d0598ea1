//! The families of models that stem from BERT: how each calls its settings and tensors, and where its arithmetic
//! departs from BERT's. A family is one file with one table; everything else works on BERT's names.

mod albert;
mod bert;
mod distilbert;
mod electra;
mod mpnet;
mod roberta;

use bertlet::format::header::Activation;

/// One family.
#[derive(Debug)]
pub(crate) struct Family {
    /// Values of `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// What the names of transformers' classes begin with, in the order of `model_types`.
    pub classes: &'static [&'static str],
    /// Prefix of the encoder's tensors in checkpoints with a head; the bare model saves them without.
    pub prefix: &'static str,
    /// The family's names of tensors and BERT's, where they differ, without `.weight` and `.bias`; `*` is the number of a
    /// layer. Names of heads belong here too.
    pub names: &'static [(&'static str, &'static str)],
    /// Names of settings in `config.json`.
    pub keys: Keys,
    /// `hidden_act` where `config.json` is silent.
    pub hidden_act: Activation,
    /// How positions are counted.
    pub counting: Counting,
    /// Whether a linear layer follows the embeddings.
    pub projection: Projection,
    /// Whether there are bias values for the distance of two tokens.
    pub relative_attention_bias: bool,
    /// Activation behind the dense layer of a sequence classifier.
    pub pooler: Activation,
    /// Activation of the dense layer in front of a masked language model's decoder; `None`: the encoder's.
    pub transform: Option<Activation>,
    /// What a class `ForPreTraining` has been trained for.
    pub pre_training: PreTraining,
    /// The dense layer of a classifier of choices.
    pub choice: Choice,
    /// The tokenizers of `model_types`, in their order.
    pub tokenizers: &'static [TokenizerKind],
}

/// The tokenizers of transformers that differ in the files which describe them where there is no `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenizerKind {
    /// `vocab.txt`.
    Bert,
    /// `vocab.txt` with RoBERTa's special tokens.
    Mpnet,
    /// `vocab.json` and `merges.txt`.
    Roberta,
    /// `sentencepiece.bpe.model`.
    XlmRoberta,
    /// `sentencepiece.bpe.model`, with other ids.
    Camembert,
    /// `spiece.model`.
    Albert,
}

/// Names of settings in `config.json`.
#[derive(Debug)]
pub(crate) struct Keys {
    pub hidden_size: &'static str,
    pub num_hidden_layers: &'static str,
    pub num_attention_heads: &'static str,
    pub intermediate_size: &'static str,
    pub hidden_act: &'static str,
    /// `None`: 1e-12, always.
    pub layer_norm_eps: Option<&'static str>,
    /// `None`: the model knows no segments.
    pub type_vocab_size: Option<&'static str>,
    /// Number of layers that are stored, each of which serves several.
    pub num_hidden_groups: Option<&'static str>,
}

/// How positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// From 0.
    FromZero,
    /// RoBERTa's: padding has the place of its own id, `pad_token_id` (where the file is silent, 1), and other tokens
    /// follow behind it.
    BehindPadding,
    /// The same with the id 1, whatever the file says.
    BehindOne,
}

/// Whether a linear layer follows the embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Projection {
    Never,
    /// Where `embedding_size` is not `hidden_size`.
    IfWider,
    Always,
}

/// What a class `ForPreTraining` has been trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreTraining {
    /// There is no such class.
    None,
    /// Masked words, and whether a sentence follows.
    NextSentence,
    /// Masked words, and something that is left out.
    MaskedWords,
    /// Replaced tokens: only the encoder is converted.
    ReplacedTokens,
}

/// The dense layer in front of a classifier of choices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// Its name after [`Family::canonical`].
    pub pooler: &'static str,
    /// What follows it.
    pub activation: Activation,
    /// Whether `config.json` may say otherwise by its keys `summary_…`.
    pub summary: bool,
}

/// BERT's.
const CHOICE: Choice = Choice {
    pooler: "pooler.dense",
    activation: Activation::Tanh,
    summary: false,
};
/// Where a classifier of sequences has a dense layer of its own and one of choices uses the encoder's.
const CHOICE_BY_OWN_POOLER: Choice = Choice {
    pooler: "own_pooler",
    activation: Activation::Tanh,
    summary: false,
};

/// BERT's names of settings.
const KEYS: Keys = Keys {
    hidden_size: "hidden_size",
    num_hidden_layers: "num_hidden_layers",
    num_attention_heads: "num_attention_heads",
    intermediate_size: "intermediate_size",
    hidden_act: "hidden_act",
    layer_norm_eps: Some("layer_norm_eps"),
    type_vocab_size: Some("type_vocab_size"),
    num_hidden_groups: None,
};

/// All that are known.
const FAMILIES: [&Family; 6] = [
    &bert::FAMILY,
    &distilbert::FAMILY,
    &roberta::FAMILY,
    &electra::FAMILY,
    &albert::FAMILY,
    &mpnet::FAMILY,
];

impl Family {
    /// The family of a `model_type`.
    pub fn of_type(model_type: &str) -> Option<&'static Family> {
        FAMILIES
            .into_iter()
            .find(|family| family.model_types.contains(&model_type))
    }

    /// The family and `model_type` of a class, for files older than the field.
    pub fn of_class(class: &str) -> Option<(&'static Family, &'static str)> {
        FAMILIES.into_iter().find_map(|family| {
            let mut types = family.model_types.iter().zip(family.classes);
            let found = types.find(|(_, name)| task_of(class, name).is_some());
            found.map(|(model_type, _)| (family, *model_type))
        })
    }

    /// All supported values of `model_type`, for messages.
    pub fn types() -> String {
        let types: Vec<String> = FAMILIES
            .iter()
            .flat_map(|family| family.model_types)
            .map(|name| format!("'{name}'"))
            .collect();
        types.join(", ")
    }

    /// What a class is for: `Model`, `ForSequenceClassification`, …; `None` if it is another family's.
    pub fn task<'a>(&self, class: &'a str) -> Option<&'a str> {
        self.classes.iter().find_map(|name| task_of(class, name))
    }

    /// The tokenizer of a `model_type`.
    pub fn tokenizer(&self, model_type: &str) -> TokenizerKind {
        let types = self.model_types.iter().position(|name| *name == model_type);
        self.tokenizers[types.unwrap_or(0)]
    }

    /// BERT's name of a tensor.
    pub fn canonical(&self, name: &str) -> String {
        let name = name.strip_prefix(self.prefix).unwrap_or(name);
        let mut pairs = self.names.iter();
        pairs
            .find_map(|(theirs, berts)| renamed(name, theirs, berts))
            .unwrap_or_else(|| name.to_owned())
    }

    /// The family's name of a tensor that BERT calls `name`, for messages.
    pub fn native(&self, name: &str) -> String {
        let mut pairs = self.names.iter();
        pairs
            .find_map(|(theirs, berts)| renamed(name, berts, theirs))
            .unwrap_or_else(|| name.to_owned())
    }
}

/// What follows the family's name in the name of a class.
fn task_of<'a>(class: &'a str, family: &str) -> Option<&'a str> {
    let task = class.strip_prefix(family)?;
    (task == "Model" || task.starts_with("For") || task.starts_with("LMHead")).then_some(task)
}

/// `name` with the pattern `from` replaced by `to`; both may have one `*` for a number.
fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    let (stem, part) = match name.rsplit_once('.') {
        Some((stem, part @ ("weight" | "bias"))) => (stem, part),
        _ => (name, ""),
    };
    // A bias that stands alone, as `lm_head.bias`, is named in full.
    let (stem, part) = match from == name {
        true => (name, ""),
        false => (stem, part),
    };
    let stem = match from.split_once('*') {
        None if stem == from => to.to_owned(),
        None => return None,
        Some((before, after)) => {
            let number = stem.strip_prefix(before)?.strip_suffix(after)?;
            number.parse::<usize>().ok()?;
            to.replacen('*', number, 1)
        }
    };
    Some(match part {
        "" => stem,
        part => format!("{stem}.{part}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_renamed_by_pattern() {
        let layer = |name| renamed(name, "a.*.b", "x.y.*.z");
        assert_eq!(layer("a.3.b.weight").unwrap(), "x.y.3.z.weight");
        assert_eq!(layer("a.12.b.bias").unwrap(), "x.y.12.z.bias");
        assert_eq!(layer("a.3.b.c.weight"), None);
        assert_eq!(layer("a.three.b.weight"), None);
        assert_eq!(renamed("h.bias", "h.bias", "g.bias").unwrap(), "g.bias");
        assert_eq!(renamed("h.bias", "h", "g").unwrap(), "g.bias");
    }

    #[test]
    fn every_table_leads_there_and_back() {
        for family in FAMILIES {
            assert_eq!(family.model_types.len(), family.classes.len());
            assert_eq!(family.model_types.len(), family.tokenizers.len());
            for (theirs, berts) in family.names {
                let name = theirs.replace('*', "7");
                let canonical = family.canonical(&name);
                assert_eq!(canonical, berts.replace('*', "7"), "{family:?}");
                assert_eq!(family.native(&canonical), name);
                let prefixed = format!("{}{name}", family.prefix);
                assert_eq!(family.canonical(&prefixed), canonical);
            }
        }
    }
}
