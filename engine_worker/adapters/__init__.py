"""Adapters (LoRA): their files, what those say, and whether they fit a model.

named.py               the operator's, by the names of their files
received.py            an upload: files on disk, bounded and with their digests checked
contents.py            what an adapter's files say: rank, and the matrices it adds to
  gguf_header.py         of a GGUF file
  safetensors_header.py  of PEFT's files
  matrices.py            pairs of low-rank matrices
gguf_conversion.py     PEFT's files as a GGUF file
fit.py                 whether an adapter fits a model
folder_lock.py         the folder of one worker's adapters is no other's
"""
