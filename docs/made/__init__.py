"""Pages of docs/, and parts of pages, made from tables, records, registries and docstrings."""
