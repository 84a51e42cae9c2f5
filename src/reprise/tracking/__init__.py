"""MLflow: where its store is (`store`), and a table, a run or a claim in its words (`content`)."""
