-- Remembers that migration $1 with name $2 and checksum $3 was applied.
INSERT INTO rowcall.migration (version, name, checksum) VALUES ($1, $2, $3)
