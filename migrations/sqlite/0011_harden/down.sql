DROP TABLE account_openings;
DROP TABLE signature_uses;
ALTER TABLE account_requests DROP COLUMN information;
DROP TABLE account_information;
