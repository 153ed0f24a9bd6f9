-- What the server is: its version as a number, and the database's encoding.
SELECT current_setting('server_version_num')::int, current_setting('server_encoding')
