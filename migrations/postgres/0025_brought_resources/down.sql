DROP TABLE brought_resources;
