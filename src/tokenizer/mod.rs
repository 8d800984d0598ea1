//! Text to token ids: WordPiece as BERT defines it.
