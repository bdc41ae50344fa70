"""Protocol dialects: each turns a body into a GenerateRequest, and a stream of GenerateEvents into bytes."""
