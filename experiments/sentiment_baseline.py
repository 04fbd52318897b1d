"""The baseline of sentiment_lstm: TF-IDF of words and pairs of words, and logistic regression.

python experiments/sentiment_baseline.py [--twin]

The regularisation is chosen on the validation split; the test split is looked at once.
"""

import argparse

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from jaxdl import data


def main(twin: bool) -> None:
    tokenize = {"tokens": {"text": "text", "by": "words"}}  # the texts are kept beside the tokens
    splits = data.load(
        "tfds", dataset="sentiment", validation="validation", tokenize=tokenize, twin=twin
    )
    text = {role: table.texts["tokens"] for role, table in splits.items()}
    label = {role: table.columns["label"] for role, table in splits.items()}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    train = vectorizer.fit_transform(text["train"])
    held_out = {role: vectorizer.transform(text[role]) for role in ("validation", "test")}
    models = {
        strength: LogisticRegression(C=strength, max_iter=1000).fit(train, label["train"])
        for strength in (0.3, 1, 3, 10, 30)
    }

    def accuracy(strength: float, role: str) -> float:
        return float(np.mean(models[strength].predict(held_out[role]) == label[role]))

    best = max(models, key=lambda strength: accuracy(strength, "validation"))
    print(f"{train.shape[1]:,} features, C = {best}")
    for role in held_out:
        print(f"{role + '/accuracy':24} {accuracy(best, role):.4f}   over {len(label[role]):,}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twin", action="store_true", help="on the twin, offline")
    main(parser.parse_args().twin)
