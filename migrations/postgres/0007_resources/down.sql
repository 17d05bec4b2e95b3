DROP TABLE idempotency_keys;
DROP TABLE usage_totals;
DROP TABLE usage_events;
DROP TABLE operations;
DROP TABLE resources;
