"""Free-form programs as language models write them: 60 lines each, loops over tokens, plain NumPy.

What `benchmarks/execution.py` compares with. Each is of the form f(sentence, tokenizer) -> (name,
matrix), and rows of its matrix sum to 1.
"""

from collections import defaultdict

import numpy as np


def punctuation_and_first_token(sentence, tokenizer):
    """Rests on the first token and looks back to punctuation, nearer marks more."""
    encoded = tokenizer([sentence], return_tensors="pt")
    token_ids = encoded.input_ids[0].tolist()
    tokens = tokenizer.convert_ids_to_tokens(token_ids)
    length = len(tokens)
    out = np.zeros((length, length))

    # What a piece looks like without the marks of the tokenizer.
    def clean(token):
        return token.replace("Ġ", "").replace("▁", "").replace("Ċ", "\n")

    sentence_ends = {".", "!", "?"}
    pauses = {",", ";", ":", "-", "--"}
    quotes = {'"', "'", "``", "''"}
    opening = {"(", "[", "{"}
    closing = {")", "]", "}"}

    # How strongly each token draws, by its kind.
    strengths = []
    for token in tokens:
        piece = clean(token)
        if piece in sentence_ends:
            strengths.append(3.0)
        elif piece in pauses:
            strengths.append(2.0)
        elif piece in quotes:
            strengths.append(1.5)
        elif piece in opening or piece in closing:
            strengths.append(1.2)
        elif piece == "\n":
            strengths.append(1.0)
        elif piece[:1].isupper():
            strengths.append(0.5)
        else:
            strengths.append(0.1)

    # A query that is punctuation looks farther back than others.
    for query in range(length):
        piece = clean(tokens[query])
        if piece in sentence_ends or piece in pauses:
            decay = 0.02
        else:
            decay = 0.1
        for key in range(query + 1):
            distance = query - key
            weight = strengths[key] * np.exp(-decay * distance)
            if distance == 0:
                weight = weight * 0.5
            out[query, key] = weight
        # The first token takes about half of what there is.
        out[query, 0] += out[query, : query + 1].sum()

    # Every row is a distribution.
    for row in range(length):
        total = out[row].sum()
        if total > 0:
            out[row] = out[row] / total
        else:
            out[row, 0] = 1.0

    return "Punctuation and the first token", out


def what_followed_before(sentence, tokenizer):
    """Looks at what came after earlier occurrences of the token, else at the token before."""
    encoded = tokenizer([sentence], return_tensors="pt")
    token_ids = encoded.input_ids[0].tolist()
    tokens = tokenizer.convert_ids_to_tokens(token_ids)
    length = len(token_ids)
    matrix = np.zeros((length, length))

    # Words count as the same whether or not a space or a capital comes first.
    normal = []
    for token in tokens:
        plain = token.replace("Ġ", "").replace("▁", "").lower()
        normal.append(plain)

    # Small words come so often that they say little.
    small = {
        "the", "a", "an", "and", "or", "but", "of", "to", "in", "on", "at",
        "it", "he", "she", "they", "was", "is", "were", "had", "that", "for",
    }  # fmt: skip

    positions = defaultdict(list)
    for query in range(length):
        earlier = positions[normal[query]]
        base = 1.0
        if normal[query] in small:
            base = 0.3
        for place in earlier:
            following = place + 1
            if following <= query:
                distance = query - following
                matrix[query, following] += base / (1.0 + 0.05 * distance)
            # Some weight stays on the earlier occurrence itself.
            matrix[query, place] += 0.2 * base

        # Two tokens that match in a row are a better sign than one.
        if query >= 1:
            for key in range(1, query):
                same = normal[key] == normal[query]
                before = normal[key - 1] == normal[query - 1]
                if same and before:
                    matrix[query, min(key + 1, query)] += 2.0
                elif before:
                    matrix[query, key] += 0.5

        # Without any match it is the token before and the first.
        if matrix[query].sum() == 0:
            if query > 0:
                matrix[query, query - 1] = 0.4
            matrix[query, query] += 0.1
            matrix[query, 0] += 0.5
        positions[normal[query]].append(query)

    for row in range(length):
        matrix[row, 0] += 0.3
        total = np.sum(matrix[row])
        matrix[row] = matrix[row] / total

    return "What followed before", matrix


def words_of_the_sentence(sentence, tokenizer):
    """Looks at the pieces of its own word, at the sentence's start, and at near content words."""
    inputs = tokenizer([sentence], return_tensors="pt")
    ids = inputs["input_ids"][0]
    toks = tokenizer.convert_ids_to_tokens(ids)
    n = len(toks)
    att = np.zeros((n, n))

    # Which word each piece belongs to.
    word_of = []
    word = -1
    for i, tok in enumerate(toks):
        starts_word = tok.startswith("Ġ") or tok.startswith("▁")
        if starts_word or i == 0 or not tok.isalpha():
            word += 1
        word_of.append(word)

    # Where each sentence begins.
    start_of = []
    start = 0
    for i, tok in enumerate(toks):
        start_of.append(start)
        if tok in {".", "!", "?"} or tok.endswith((".", "!", "?")):
            start = i + 1

    function_words = set(
        "the a an of to in on at by for with and or but so he she it they was were is are".split()
    )

    for i in range(n):
        for j in range(i + 1):
            score = 0.0
            # Pieces of one word belong together.
            if word_of[i] == word_of[j] and i != j:
                score += 1.0
            # The first word of the sentence.
            if j == start_of[i]:
                score += 0.6
            # Content words nearby.
            text = toks[j].lstrip("Ġ▁").lower()
            if text not in function_words and text.isalpha():
                if start_of[i] == start_of[j]:
                    score += 0.3 * (0.8 ** (i - j))
                else:
                    score += 0.1 * (0.8 ** (i - j))
            # The token itself and the one before.
            if i == j:
                score += 0.2
            if i - j == 1:
                score += 0.4
            att[i, j] = score

    # The first token takes what is left.
    for i in range(n):
        left = max(0.0, 2.0 - att[i].sum())
        att[i, 0] += left
        att[i] = att[i] / att[i].sum()

    return "Words of the sentence", att


def pronouns_and_names(sentence, tokenizer):
    """From pronouns looks back to names, from verbs to what may be their subject; else nearby."""
    tokenized = tokenizer([sentence], return_tensors="pt")
    pieces = tokenizer.convert_ids_to_tokens(tokenized.input_ids[0])
    size = len(pieces)
    pattern = np.zeros((size, size))

    he = {"he", "him", "his", "himself"}
    she = {"she", "her", "hers", "herself"}
    they = {"they", "them", "their", "themselves", "we", "us", "our"}
    verbs = {"was", "were", "is", "are", "had", "has", "said", "saw", "went", "wanted", "loved"}
    articles = {"the", "a", "an", "this", "that", "these", "those"}

    words = [piece.replace("Ġ", "").replace("▁", "") for piece in pieces]
    lowered = [word.lower() for word in words]

    # Names begin with a capital within a sentence.
    is_name = np.zeros(size, dtype=bool)
    for place in range(size):
        begins = place == 0 or words[place - 1] in {".", "!", "?", '"'}
        if words[place][:1].isupper() and not begins:
            is_name[place] = True
        if begins and lowered[place] not in he | she | they | articles:
            is_name[place] = words[place][:1].isupper()

    for query in range(size):
        word = lowered[query]
        for key in range(query + 1):
            gap = query - key
            value = 0.05 / (1 + gap)
            if word in he or word in she or word in they:
                if is_name[key]:
                    value += 1.0 / (1 + 0.1 * gap)
                elif lowered[key] == word and gap > 0:
                    value += 0.5
            elif word in verbs:
                if is_name[key] or lowered[key] in he | she | they:
                    value += 0.8 / (1 + 0.2 * gap)
            elif key > 0 and lowered[key - 1] in articles:
                value += 0.3 * np.exp(-0.2 * gap)
            if gap == 1:
                value += 0.25
            if key == 0:
                value += 0.7
            pattern[query, key] = value

    sums = pattern.sum(axis=1, keepdims=True)
    for query in range(size):
        if sums[query, 0] == 0:
            pattern[query, 0] = 1.0
            sums[query, 0] = 1.0
    pattern = pattern / sums

    return "Pronouns and names", pattern


PROGRAMS = (
    punctuation_and_first_token,
    what_followed_before,
    words_of_the_sentence,
    pronouns_and_names,
)
