DROP TABLE sessions;
DROP TABLE deep_links;
