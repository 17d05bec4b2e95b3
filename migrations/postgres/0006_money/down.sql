DROP TABLE charges;
DROP TABLE ledger_entries;
DROP TABLE ledger_heads;
DROP TABLE holds;
DROP TABLE counters;
DROP TABLE payment_tokens;
DROP TABLE budgets;
