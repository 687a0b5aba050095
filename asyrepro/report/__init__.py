"""The report of a study: numbers in, tables, figures, verdicts and page out."""
