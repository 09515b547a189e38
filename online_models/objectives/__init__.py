"""What an encoder of histories is asked while it learns: which places are hidden, who sees whom, what is predicted.

One file an objective. Each keeps the interface of :class:`online_models.objectives.exercise.Objective`.
"""
