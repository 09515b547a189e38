"""``headwater doctor``: what is wrong with this set-up, one line each, with the mend.

A part is one file with one function, from settings to findings. It looks, and changes nothing that lasts.
"""
