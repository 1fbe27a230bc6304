"""made_up: generates small data sets in published layouts; one module each, `write(folder)`."""
