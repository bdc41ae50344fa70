"""What engines share between a request and the model's text: stop texts, context windows."""
