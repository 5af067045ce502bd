"""What the tokens of a codec mean (thesis, section 6.1): measurements of a frozen codec on the stems of a data set."""
