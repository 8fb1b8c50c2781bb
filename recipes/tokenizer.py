"""A deterministic CLIP tokenizer with one token for every word of the world; other words fall back to letters."""

from __future__ import annotations

import string

from transformers import CLIPTokenizer

LENGTH = 24  # tokens, start and end among them


def build_tokenizer(words: list[str], length: int = LENGTH) -> CLIPTokenizer:
    """Build the byte-pair merges by hand: library trainers give another vocabulary in every process.

    For each word the missing merges are added on the left; later merges rank lower, so earlier words keep their token.
    """
    letters = string.ascii_lowercase + string.digits + string.punctuation
    vocabulary = [*letters, *(c + "</w>" for c in letters)]
    rank: dict[tuple[str, str], int] = {}

    def pieces(word: str) -> list[str]:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            best = min(zip(parts, parts[1:]), key=lambda pair: rank.get(pair, len(rank) + 1))
            if best not in rank:
                break
            i = next(i for i in range(len(parts) - 1) if (parts[i], parts[i + 1]) == best)
            parts[i : i + 2] = [best[0] + best[1]]
        return parts

    for word in words:
        while len(parts := pieces(word)) > 1:
            rank[parts[0], parts[1]] = len(rank)
            if parts[0] + parts[1] not in vocabulary:
                vocabulary.append(parts[0] + parts[1])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={t: i for i, t in enumerate(vocabulary)}, merges=list(rank), model_max_length=length
    )
    assert all(len(tokenizer.tokenize(word)) == 1 for word in words)
    return tokenizer


def text_settings(tokenizer: CLIPTokenizer, *, width: int, layers: int, heads: int) -> dict:
    """Settings of a CLIP text encoder of the given size that fits the tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


class WordTable:
    """The same token ids as the tokenizer's for the world's words, fast enough for every step of a recipe."""

    def __init__(self, tokenizer: CLIPTokenizer, words: list[str]):
        self.ids = {word: tokenizer.convert_tokens_to_ids(word + "</w>") for word in words}
        self.start, self.end, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self.length = tokenizer.model_max_length

    def __call__(self, captions: list[str]):
        import torch

        rows = [[self.start, *(self.ids[w] for w in c.split())][: self.length - 1] + [self.end] for c in captions]
        return torch.tensor([row + [self.pad] * (self.length - len(row)) for row in rows])
