"""What is told of runs.

`evaluation` has what a network says of images and how good that is. `runs` reads what directories hold,
`statistics` says what may be concluded from several of them, `comparison` concludes it, and `telling` puts it
in tables and sentences. `figures` draws matplotlib Figures of numbers and images; `pictures` says which of
them a run leaves, as PNG files. `explain` has a module for each picture of why a network works; `subject` is
the run that they look at, and `drawing` what they share.
"""
