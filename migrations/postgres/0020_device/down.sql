DROP INDEX authorization_codes_by_challenge;
DROP TABLE device_requests;
