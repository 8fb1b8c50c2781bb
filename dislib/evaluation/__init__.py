"""From pictures to numbers: the judge, the metrics with their bands, sweeps, references, tables and votes."""
