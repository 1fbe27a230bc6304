"""Published layouts with generated content: one module per data set, `write(folder)`."""
