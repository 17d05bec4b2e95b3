ALTER TABLE distrusts DROP COLUMN event_at;
