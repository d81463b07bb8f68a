"""What is told of runs.

`evaluation` has what a network says of images and how good that is; `statistics` what may be concluded from
several runs, and `comparison` the tables of it. `figures` draws matplotlib Figures of numbers and images;
`pictures` says which of them a run leaves, as PNG files.
"""
