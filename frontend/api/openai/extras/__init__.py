"""SGLang's and vLLM's extensions of OpenAI's requests.

table.py           start here: the fields that are read, their kinds, meaning, and what each engine does
unread.py          fields that are refused or named on every engine
kinds.py           kinds of values: how they are read and checked
constraints.py     the fields that constrain the answer, as one constraint
fields.py          the fields of one request, and what they change in it
reasoning.py       how the answer shows the model's reasoning
"""
