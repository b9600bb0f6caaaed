CREATE TABLE version (table_name CHAR(32) NOT NULL, table_version INT UNSIGNED NOT NULL);
