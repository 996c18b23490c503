"""Tiny fast tokenizers of every common kind, trained on the spot."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_CORPUS = ["hello world return x def foo(a, b): the quick brown fox 12 34 the end héllo\n"] * 30


@cache
def byte_level(*, prefix_space: bool = False, trim_offsets: bool = False) -> Tokenizer:
    """BPE over bytes, as GPT-2, Phi and LLaDA have it; ``trim_offsets`` as RoBERTa has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        _CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(["<|endoftext|>", "<mask>"])
    return tokenizer


@cache
def metaspace() -> Tokenizer:
    """Unigram with a space put before the first word, as T5 and XLNet have it, over NFKC."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<unk>", "</s>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


@cache
def byte_fallback() -> Tokenizer:
    """BPE over words with single bytes for what it does not know, as Llama 2 has it."""
    tokens = [
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdefghijklmnopqrstuvwxyz",
        "▁h",
        "he",
        "ll",
    ]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [("▁", "h"), ("h", "e"), ("l", "l")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@cache
def word_piece() -> Tokenizer:
    """WordPiece that drops whitespace, case and accents, as BERT has it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=100, special_tokens=["[UNK]", "[CLS]"], show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


@cache
def word_level() -> Tokenizer:
    """Whole words under a normalizer that takes characters apart and removes marks."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=100, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


ALL = {
    "byte-level": byte_level,
    "byte-level, space before, trimmed offsets": lambda: byte_level(prefix_space=True, trim_offsets=True),
    "metaspace": metaspace,
    "byte fallback": byte_fallback,
    "word piece": word_piece,
    "word level": word_level,
}
