ALTER TABLE counters DROP COLUMN carried;
DROP TABLE address_openings;
DROP TABLE sidecars;
