-- When what a security event told of happened: only what happened later takes back what it began.
ALTER TABLE distrusts ADD COLUMN event_at BIGINT;
UPDATE distrusts SET event_at = begun_at WHERE cause LIKE 'event:%';
