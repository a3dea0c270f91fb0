import numpy as np
import spacy

try:
    nlp = spacy.load("en_core_web_sm")
except OSError:
    spacy.cli.download("en_core_web_sm")
    nlp = spacy.load("en_core_web_sm")


def aligned(doc, encoding, sentence):
    """spaCy's token number -> the first of the tokenizer's, by the place in the sentence."""
    found = {}
    for token in doc:
        for place, (start, end) in enumerate(encoding["offset_mapping"]):
            if start <= token.idx < end:
                found[token.i] = place
                break
    return found


def dependency_head(sentence, tokenizer):
    encoding = tokenizer(sentence, return_offsets_mapping=True)
    n = len(encoding["input_ids"])
    doc = nlp(sentence)
    place = aligned(doc, encoding, sentence)
    out = np.eye(n) * 0.05
    for token in doc:
        if token.dep_ != "ROOT" and token.i in place and token.head.i in place:
            out[place[token.i], place[token.head.i]] = 1
            for child in token.children:
                if child.pos_ in ("ADJ", "DET") and child.i in place:
                    out[place[token.i], place[child.i]] += 0.5
    return "Dependency head", out


def nouns_and_names(sentence, tokenizer):
    encoding = tokenizer(sentence, return_offsets_mapping=True)
    n = len(encoding["input_ids"])
    doc = nlp(sentence)
    place = aligned(doc, encoding, sentence)
    out = np.full((n, n), 1e-3)
    for chunk in doc.noun_chunks:
        if chunk.root.i in place:
            out[:, place[chunk.root.i]] += 1
    for entity in doc.ents:
        for token in entity:
            if token.i in place:
                out[:, place[token.i]] += 2 if entity.label_ == "PERSON" else 1
    for sent in doc.sents:
        first = sent[0]
        if first.i in place:
            out[place[first.i] :, place[first.i]] += 0.1 * (not first.is_punct)
    return "Nouns and names", out


def word_by_word(sentence, tokenizer):
    """Parses each word by itself, as some programs do."""
    ids = tokenizer(sentence)["input_ids"]
    out = np.eye(len(ids))
    for place, number in enumerate(ids):
        word = tokenizer.decode([number]).strip()
        if word and nlp(word)[0].pos_ == "VERB":
            out[place:, place] += 1
    return "Verbs", out
