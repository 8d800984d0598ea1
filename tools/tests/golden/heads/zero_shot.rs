//! Labels that the model was not trained for.

use super::{F16, answers, case, near, strings};
use crate::support::converted;
use bertlet::{
    Embedder, EntailmentClassifier, EntailmentOptions, Label, LabelOptions, LabelVectors, Model,
    TextOptions, cosine,
};

#[test]
fn entailment_is_that_of_the_pipeline() {
    for (precision, tolerance) in [("f16", F16), ("int8", 0.05)] {
        let case = case("nli", precision);
        let labels: Vec<Label> = strings(&case.meta["labels"])
            .into_iter()
            .map(Label::from)
            .collect();
        for expected in case.meta["cases"].as_array().unwrap() {
            let options = EntailmentOptions {
                hypothesis_template: expected["template"].as_str().unwrap().to_owned(),
                multi_label: expected["multi_label"].as_bool().unwrap(),
                max_length: None,
            };
            let classifier = EntailmentClassifier::new(&case.model, &labels, &options).unwrap();
            let found = answers(&classifier, &[expected["text"].as_str().unwrap()]).remove(0);
            let ranked = strings(&expected["answer"]["labels"]);
            for (index, label) in ranked.into_iter().enumerate() {
                let place = labels.iter().position(|other| other.name == label).unwrap();
                near(
                    found[place],
                    &expected["answer"]["scores"][index],
                    tolerance,
                    label,
                );
            }
        }
    }
}

#[test]
fn vectors_are_compared_by_cosine() {
    let model = Model::open(converted("sentence", "f16")).unwrap();
    let examples = Label {
        name: "places".to_owned(),
        examples: vec!["river bank".to_owned(), "city".to_owned()],
    };
    let labels = ["film".into(), examples];
    let options = |multi_label, template: &str| LabelOptions {
        multi_label,
        template: template.to_owned(),
        ..LabelOptions::default()
    };
    let embedder = Embedder::new(&model).unwrap();
    let vectors = embedder
        .embed(&["the dog", "a good film", "river bank", "city"])
        .unwrap();
    let text = &vectors[0];
    let new = |options| LabelVectors::new(&model, &labels, TextOptions::default(), options);
    let cosines = new(options(true, "a good {}")).unwrap().scores(text);
    assert!((cosines[0] - cosine(text, &vectors[1])).abs() < 1e-6);
    let mean: Vec<f32> = vectors[2]
        .iter()
        .zip(&vectors[3])
        .map(|(a, b)| a + b)
        .collect();
    assert!((cosines[1] - cosine(text, &mean)).abs() < 1e-6);
    let scores = new(options(false, "a good {}")).unwrap().scores(text);
    let expected = 1.0 / (1.0 + ((cosines[1] - cosines[0]) / 0.05).exp());
    assert!(
        (scores[0] - expected).abs() < 1e-5,
        "{scores:?}, {cosines:?}"
    );
    let error = new(options(false, "nothing")).unwrap_err().to_string();
    assert!(error.contains("has no {}"), "{error}");
}

#[test]
fn labels_that_cannot_be_used_are_one_clear_error() {
    let nli = case("nli", "f16").model;
    let refused = |model: &Model, labels: &[&str]| {
        let labels: Vec<Label> = labels.iter().map(|label| Label::from(*label)).collect();
        let options = EntailmentOptions::default();
        let error = EntailmentClassifier::new(model, &labels, &options).unwrap_err();
        error.to_string()
    };
    assert_eq!(refused(&nli, &[]), "no label is named; name at least one");
    assert!(refused(&nli, &["a", " "]).starts_with("label 2 has no name; "));
    assert_eq!(
        refused(&nli, &["a", "b", "a"]),
        "label \"a\" is named twice; leave one out"
    );
    let long = "cat ".repeat(40);
    assert!(refused(&nli, &[&long]).contains("none is left for the text"));
    let other = case("regression", "f16").model;
    let said = refused(&other, &["a"]);
    assert!(
        said.contains("no label of the model begins with \"entail\""),
        "{said}"
    );
    let other = case("tag", "f16").model;
    let said = refused(&other, &["a"]);
    assert!(
        said.contains("its head is for token classification"),
        "{said}"
    );
}
