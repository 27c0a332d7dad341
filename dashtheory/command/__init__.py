"""The command line: options made from configurations, the scripts of figures, the program `dashtheory`."""
