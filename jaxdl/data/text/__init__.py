"""Text: vocabularies, token columns, and ABC notation.

It knows `table` and `validation` in the room above, and no source, model or task. To add a kind of
token, write a subclass of `vocabulary.Vocabulary`, name it in `_KINDS` there, and let
`tokens.Tokens` choose it. How generated tokens are chosen belongs to `jaxdl.decoding`.
"""
