"""Listening tests: stimuli, the tests that they are for (webMUSHRA, ReSEval, a page of our own), and their analysis."""
