"""Rerank, score and classify, as the servers of such models have them: Cohere, Jina, vLLM, SGLang, TEI."""
