"""The views of Compare, a module each: `layout` builds it, `wire` brings it to life.

They share the models that sit in the columns (seats.py); what is shown at the moment, the style sheet decides.
"""
