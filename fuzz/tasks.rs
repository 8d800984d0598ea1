//! Every task that a model can do, on one text and some fixed ones.

use bertlet::{
    Answerer, AnswererOptions, AttentionViewer, Candidates, Classifier, ClassifierOptions, Combine,
    Embedder, EmbedderOptions, EntailmentClassifier, EntailmentOptions, FeatureExtractor, Filler,
    FillerOptions, Label, Layers, LineScorer, Model, PairScorer, Question, RunOptions, Tagger,
    TaggerOptions, Task, TextOptions,
};

/// Does what the model can do, with what comes out looked at a little. One thread: a crash must follow from the input alone.
pub fn run(model: &Model, text: &str) {
    let texts = [text, "", "a good [MASK] film"];
    let options = ClassifierOptions {
        threads: Some(1),
        ..Default::default()
    };
    if let Ok(classifier) = Classifier::with_options(model, options) {
        let answers = classifier.classify(&texts).map(|answers| answers.len());
        assert!(answers.is_err() || answers.is_ok_and(|count| count == 3));
    }
    let options = EmbedderOptions {
        threads: Some(1),
        ..Default::default()
    };
    if let Ok(embedder) = Embedder::with_options(model, options) {
        let vectors = embedder.embed(&texts).map(|vectors| vectors.len());
        assert!(vectors.is_err() || vectors.is_ok_and(|count| count == 3));
    }
    answer(Tagger::new(model, TaggerOptions::default()), &texts);
    answer(Filler::new(model, FillerOptions::default()), &texts);
    answer(LineScorer::new(model, None), &texts[2..]);
    let questions = texts.map(|context| Question {
        question: "what is good",
        context,
    });
    answer(Answerer::new(model, AnswererOptions::default()), &questions);
    let labels = ["film", "cat"].map(Label::from);
    let entailment = EntailmentClassifier::new(model, &labels, &EntailmentOptions::default());
    answer(entailment, &texts);
    let pairs = texts.map(|second| Candidates {
        first: "a cat",
        seconds: vec![second.into(), "a dog".into()],
    });
    let text = TextOptions::default;
    answer(PairScorer::cross_encoder(model, text(), None), &pairs);
    answer(PairScorer::next_sentence(model, text()), &pairs);
    answer(PairScorer::multiple_choice(model, text()), &pairs);
    let layers = Layers::new(model, &[0, -1], Combine::Sum);
    let features = layers.and_then(|layers| FeatureExtractor::new(model, layers, text()));
    let texts = texts.map(Into::into);
    answer(features, &texts[..1]);
    answer(AttentionViewer::new(model, -1, None, text()), &texts[..1]);
}

/// As many answers as inputs, unless the model cannot do this or an input is refused.
fn answer<T: Task>(task: bertlet::Result<T>, inputs: &[T::Input<'_>]) {
    let options = RunOptions {
        threads: Some(1),
        ..Default::default()
    };
    if let Ok(Ok(answers)) = task.map(|task| task.run(inputs, options)) {
        assert_eq!(answers.len(), inputs.len());
    }
}
