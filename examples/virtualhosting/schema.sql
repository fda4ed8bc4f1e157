-- The database of examples/virtualhosting, for MariaDB, MySQL and SQLite. The
-- table passwd is the one of the guides; quota is ours.
--
-- Addresses are compared byte by byte and kept in lower case: where the database
-- takes an accented letter for the plain one, one user would be another.

CREATE TABLE IF NOT EXISTS domains (
  name VARCHAR(255) NOT NULL PRIMARY KEY -- example.org
) /*! CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */;

CREATE TABLE IF NOT EXISTS passwd (
  id      VARCHAR(255) NOT NULL PRIMARY KEY,            -- user@example.org
  pass    VARCHAR(255) NOT NULL DEFAULT '',             -- openssl passwd -6; '' is no login
  name    VARCHAR(255) NOT NULL DEFAULT '',
  uid     INTEGER      NOT NULL DEFAULT 5000,
  gid     INTEGER      NOT NULL DEFAULT 5000,
  home    VARCHAR(255) NOT NULL,                        -- /example.org/user, below -mail
  maildir VARCHAR(255) NOT NULL DEFAULT 'Maildir/',     -- below home
  quota   VARCHAR(64)  NOT NULL DEFAULT '0'             -- 10000000S,1000C; 0 is none
) /*! CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */;

-- One address may have many rows, and a row many addresses: 'a@b.example, c@d.example'.
CREATE TABLE IF NOT EXISTS aliases (
  address VARCHAR(255)  NOT NULL, -- sales@example.org; @example.org is everybody else
  goto    VARCHAR(2000) NOT NULL
) /*! CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */;
