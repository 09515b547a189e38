"""The stream: events come in, sessions and examples come out, and the processes that run all of it.

:mod:`streamer.events` is the contract with clients, :mod:`streamer.pipeline` what a worker does and
:mod:`streamer.student` what the trainer does, both without Kafka. This is the one package that may import the others.
"""
