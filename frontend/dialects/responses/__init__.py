"""OpenAI's Responses API: another envelope around what the native routes do (ollama-api.md section 5.5)."""
