"""The contest: small problems of every kind, rivals at the best of their rates, isotrain without any."""
