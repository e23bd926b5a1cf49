"""Reports: statistics, plots and tables, made from result files and from nothing else."""
