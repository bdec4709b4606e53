"""Training, offline, from labelled videos and photographs (the paper, section 4)."""
