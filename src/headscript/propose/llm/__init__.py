"""The `llm` proposer: a language model is shown what a head does and writes programs for it."""
