"""Text: vocabularies and ABC notation.

It knows no table, source, model or task. To add a kind of token, write a subclass of
`vocabulary.Vocabulary`, name it in `_KINDS` there, and let `jaxdl.data.tokens.Tokens` choose it.
How generated tokens are chosen belongs to `jaxdl.decoding`.
"""
