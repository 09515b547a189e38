"""Everything that learns, without Kafka, stores or serving; nothing of ours is imported here.

Start with :mod:`online_models.batch` (what a learner sees) and :mod:`online_models.learner` (what a learner is). A new
system is one file in :mod:`online_models.zoo`; :mod:`online_models.checks` then holds it to every law.
"""
