"""The neutral request of all dialects: lenient JSON, typed fields, options, conversion to the proto."""
