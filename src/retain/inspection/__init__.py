"""What a trained policy's memory does while it acts: recorded, explained, drawn.

recording.py   episodes are played, and the memory is looked at as they go
changes.py     why a segment changed the memory: it is read again without what was seen
probe.py       what a linear map can read from the memory
attention.py   where the tokens of a segment look
summary.py     all of it as one record, and a verdict in one sentence
"""
